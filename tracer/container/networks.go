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

// How compose marks what is its own; podman-compose has labels of its own beside
// these.
const (
	projectLabel       = "com.docker.compose.project"
	projectLabelPodman = "io.podman.compose.project"
	serviceLabel       = "com.docker.compose.service"
	serviceLabelPodman = "io.podman.compose.service"
)

// Project is the compose project of a container; "" for none.
func (c Container) Project() string {
	return cmp.Or(c.Labels[projectLabel], c.Labels[projectLabelPodman])
}

// Service is the compose service that a container is of; "" for none.
func (c Container) Service() string {
	return cmp.Or(c.Labels[serviceLabel], c.Labels[serviceLabelPodman])
}

// Networks returns the engine's networks, by name. Errors are of type
// *EngineError.
func (d *Docker) Networks(ctx context.Context) ([]NetworkInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := d.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, &EngineError{Host: d.host, Err: err}
	}
	if err := d.nameBridges(ctx, r.Items); err != nil {
		return nil, err
	}
	list := make([]NetworkInfo, 0, len(r.Items))
	for _, n := range r.Items {
		list = append(list, NetworkInfo{
			Name: n.Name, ID: n.ID, Driver: n.Driver, Bridge: bridgeOf(n), Internal: n.Internal, IPv6: n.EnableIPv6,
			Options: maps.Clone(n.Options), Project: cmp.Or(n.Labels[projectLabel], n.Labels[projectLabelPodman]),
		})
	}
	slices.SortFunc(list, compareNetworks)
	return list, nil
}
