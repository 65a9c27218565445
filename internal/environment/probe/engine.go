// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/client"

	"github.com/vethtrace/vethtrace/internal/environment"
)

// ReadEngine describes an engine by asking it; nothing is changed.
func ReadEngine(ctx context.Context, api *client.Client) (*environment.Docker, error) {
	info, err := api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask the engine about itself: %w", err)
	}
	i := info.Info
	d := &environment.Docker{
		Version: i.ServerVersion, StorageDriver: i.Driver, CgroupVersion: i.CgroupVersion, Runtime: i.DefaultRuntime,
		IPv4Forwarding: i.IPv4Forwarding,
	}
	bridge, err := api.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask the engine about its default network: %w", err)
	}
	options := bridge.Network.Options
	d.BridgeName = options["com.docker.network.bridge.name"]
	d.BridgeMTU = options["com.docker.network.driver.mtu"]
	d.BridgeICC = options["com.docker.network.bridge.enable_icc"]
	d.BridgeMasquerade = options["com.docker.network.bridge.enable_ip_masquerade"]
	d.UserlandProxy, err = userlandProxy(ctx, api)
	return d, err
}

// userlandProxy tells whether published ports have their docker-proxy. The
// engine does not say how it was set; its processes do.
func userlandProxy(ctx context.Context, api *client.Client) (*bool, error) {
	list, err := api.ContainerList(ctx, client.ContainerListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	published := map[string]bool{} // addresses of containers with published ports
	for _, c := range list.Items {
		open := false
		for _, p := range c.Ports {
			open = open || p.PublicPort != 0
		}
		if !open || c.NetworkSettings == nil {
			continue
		}
		for _, n := range c.NetworkSettings.Networks {
			if n != nil && n.IPAddress.IsValid() {
				published[n.IPAddress.String()] = true
			}
		}
	}
	if len(published) == 0 {
		return nil, nil //nolint:nilnil // nothing is published: it cannot be told
	}
	served, err := proxied(published)
	return &served, err
}

// proxied tells whether a docker-proxy serves one of these addresses.
func proxied(addresses map[string]bool) (bool, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false, err
	}
	served := false
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		args := strings.Split(string(raw), "\x00")
		if !strings.HasSuffix(args[0], "docker-proxy") {
			continue
		}
		for _, arg := range args {
			served = served || addresses[arg]
		}
	}
	return served, nil
}
