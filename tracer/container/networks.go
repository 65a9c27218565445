// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/moby/moby/client"
)

// NetworkInfo is a network of an engine, whether or not a container uses it.
type NetworkInfo struct {
	Name     string
	ID       string
	Driver   string
	Bridge   string // device of the host; "" for drivers without
	Internal bool   // nothing but the network itself is reached
	IPv6     bool
	Options  map[string]string // com.docker.network.bridge.enable_icc, com.docker.network.driver.mtu, ...
	Project  string            // of compose; "" for none
}

// projectLabel is how compose marks what is its own.
const projectLabel = "com.docker.compose.project"

// Project is the compose project of a container; "" for none.
func (c Container) Project() string { return c.Labels[projectLabel] }

// Networks returns the engine's networks, by name. Errors are of type
// *EngineError.
func (d *Docker) Networks(ctx context.Context) ([]NetworkInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := d.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, &EngineError{Host: d.host, Err: err}
	}
	list := make([]NetworkInfo, 0, len(r.Items))
	for _, n := range r.Items {
		list = append(list, NetworkInfo{
			Name: n.Name, ID: n.ID, Driver: n.Driver, Bridge: bridgeOf(n), Internal: n.Internal, IPv6: n.EnableIPv6,
			Options: maps.Clone(n.Options), Project: n.Labels[projectLabel],
		})
	}
	slices.SortFunc(list, func(a, b NetworkInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
