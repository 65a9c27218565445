// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/moby/moby/api/types/network"
)

// optionBridge is how networks of Docker name their bridge.
const optionBridge = "com.docker.network.bridge.name"

// libpodNetworks is the question of Podman's own API for its networks: what it
// answers in Docker's leaves the bridges' names out.
const libpodNetworks = "http://podman/v4.0.0/libpod/networks/json"

// nameBridges adds the names of bridges to Podman's networks, and gives these
// their own names: in Docker's API the default one is called bridge.
func (d *Docker) nameBridges(ctx context.Context, networks []network.Summary) error {
	if d.runtime(ctx) != RuntimePodman {
		return nil
	}
	own, err := d.libpodNetworks(ctx)
	if err != nil {
		return &EngineError{Host: d.host, Err: fmt.Errorf("ask Podman for its networks: %w", err)}
	}
	for i := range networks {
		n := &networks[i]
		known, ok := own[n.ID]
		if !ok {
			continue
		}
		n.Name = known.Name
		if known.Interface == "" || n.Driver != network.NetworkBridge {
			continue
		}
		options := map[string]string{optionBridge: known.Interface}
		for key, value := range n.Options {
			options[key] = value
		}
		n.Options = options
	}
	return nil
}

// libpodNetwork is a network as Podman's own API has it.
type libpodNetwork struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Interface string `json:"network_interface"`
}

// libpodNetworks returns the networks by id.
func (d *Docker) libpodNetworks(ctx context.Context) (map[string]libpodNetwork, error) {
	dial := d.api.Dialer()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, libpodNetworks, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var list []libpodNetwork
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, err
	}
	byID := map[string]libpodNetwork{}
	for _, n := range list {
		byID[n.ID] = n
	}
	return byID, nil
}
