// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// describe makes a Container of an inspect document. What /proc knows is
// missing still.
func describe(r container.InspectResponse, b book) Container {
	c := Container{ID: r.ID, Name: strings.TrimPrefix(r.Name, "/"), Image: r.Image}
	if r.Config != nil {
		c.Labels = maps.Clone(r.Config.Labels)
		c.Image = cmp.Or(r.Config.Image, r.Image)
	}
	if r.State != nil {
		c.PID = r.State.Pid
		// A time that can't be read only makes restarts harder to tell.
		c.Started, _ = time.Parse(time.RFC3339Nano, r.State.StartedAt)
	}
	if r.HostConfig != nil {
		c.Mode, c.Shares = b.mode(r.HostConfig.NetworkMode)
	}
	if r.NetworkSettings != nil {
		c.Ports = ports(r.NetworkSettings.Ports)
		c.Networks = b.describe(r.NetworkSettings.Networks)
	}
	return c
}

// mode turns an engine's network mode into its name for people, and the id of
// the container whose namespace is shared.
func (b book) mode(m container.NetworkMode) (mode, shares string) {
	switch {
	case m == "" || m.IsDefault():
		return network.NetworkBridge, ""
	case m.IsContainer():
		id := m.ConnectedContainer()
		name, ok := b.containers[id]
		if !ok { // gone, or the engine told a name
			name = id
			for i, n := range b.containers {
				if n == id {
					return "container:" + n, i
				}
			}
			if len(id) == 64 {
				name = short(id)
			}
		}
		return "container:" + name, id
	}
	// `--network ID` is kept as it was given.
	for _, n := range b.networks {
		if n.ID == string(m) || len(m) >= 12 && strings.HasPrefix(n.ID, string(m)) {
			return n.Name, ""
		}
	}
	return string(m), ""
}

func (b book) describe(settings map[string]*network.EndpointSettings) []Network {
	var list []Network
	for name, e := range settings {
		if e == nil {
			continue
		}
		n := Network{Name: name, IP4: e.IPAddress, IP6: e.GlobalIPv6Address, MAC: e.MacAddress.String()}
		if s := b.network(name, e.NetworkID); s != nil {
			n.Name, n.Driver, n.Bridge = s.Name, s.Driver, bridgeOf(*s)
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (b book) network(name, id string) *network.Summary {
	for i := range b.networks {
		if n := &b.networks[i]; id != "" && n.ID == id || (id == "" || id == name) && n.Name == name { // Podman gives the name for the id
			return n
		}
	}
	return nil
}

// bridgeOf names the device of a bridge network: an option of the default
// network and of whoever set it, else made of the id.
func bridgeOf(n network.Summary) string {
	if n.Driver != "bridge" {
		return ""
	}
	for _, option := range []string{
		optionBridge,
		"network_interface", // newer Podman
	} {
		if name := n.Options[option]; name != "" {
			return name
		}
	}
	return "br-" + short(n.ID)
}

// ports lists what is published, in a fixed order.
func ports(m network.PortMap) []Port {
	var list []Port
	for port, bindings := range m {
		for _, b := range bindings {
			number, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil || number == 0 {
				continue // exposed, not published
			}
			addr := b.HostIP
			if !addr.IsValid() { // Podman leaves "all addresses" empty
				addr = netip.IPv4Unspecified()
			}
			list = append(list, Port{
				Host: netip.AddrPortFrom(addr, uint16(number)), Container: port.Num(), Protocol: string(port.Proto()),
			})
		}
	}
	slices.SortFunc(list, comparePorts)
	return list
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Protocol, b.Protocol), a.Host.Compare(b.Host))
}
