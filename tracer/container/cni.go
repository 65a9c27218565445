// SPDX-License-Identifier: Apache-2.0

package container

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cniStore is what CNI keeps on disk: who is connected to what, and what
// networks are configured.
type cniStore struct {
	results string // a file for each connection, see libcni
	configs string // *.conflist and *.conf, nerdctl's a folder below
}

func defaultCNI() cniStore {
	return cniStore{results: "/var/lib/cni/results", configs: "/etc/cni/net.d"}
}

// attachment is a container's connection to a network, as libcni keeps it.
type attachment struct {
	Kind        string `json:"kind"`
	ContainerID string `json:"containerId"`
	Config      []byte `json:"config"` // the network's configuration then
	Interface   string `json:"ifName"`
	Network     string `json:"networkName"`
	Args        struct {
		Ports json.RawMessage `json:"portMappings"`
	} `json:"capabilityArgs"`
	Result struct {
		Interfaces []struct {
			Name    string `json:"name"`
			MAC     string `json:"mac"`
			Sandbox string `json:"sandbox"` // "" for devices of the host
		} `json:"interfaces"`
		IPs []struct {
			Address string `json:"address"` // with its prefix length
		} `json:"ips"`
	} `json:"result"`
}

// read reads all attachments; those that can't be read are left out, as a
// container's devices and rules tell most of it.
func (s cniStore) read() []attachment {
	entries, err := os.ReadDir(s.results)
	if err != nil {
		return nil // CNI has not connected anything, or not by libcni
	}
	var list []attachment
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(s.results, e.Name()))
		if err != nil {
			continue
		}
		var a attachment
		if err := json.Unmarshal(b, &a); err != nil || a.Kind != "cniCacheV1" {
			continue
		}
		list = append(list, a)
	}
	return list
}

// network describes what an attachment is to.
func (a attachment) network() Network {
	n := Network{Name: a.Network}
	if info, ok := parseCNI(a.Config); ok {
		n.Driver, n.Bridge = info.Driver, info.Bridge
	}
	for _, i := range a.Result.Interfaces {
		if i.Sandbox != "" && i.Name == a.Interface {
			n.MAC = strings.ToLower(i.MAC)
		}
	}
	for _, ip := range a.Result.IPs {
		prefix, err := netip.ParsePrefix(ip.Address)
		switch {
		case err != nil:
		case prefix.Addr().Is4() && !n.IP4.IsValid():
			n.IP4 = prefix.Addr()
		case prefix.Addr().Is6() && !n.IP6.IsValid():
			n.IP6 = prefix.Addr()
		}
	}
	return n
}

func (a attachment) ports() []Port { return mappings(a.Args.Ports) }

// networks lists the networks that are configured, and those of attachments, by
// name.
func (s cniStore) networks() []NetworkInfo {
	var list []NetworkInfo
	add := func(b []byte) {
		n, ok := parseCNI(b)
		if ok && !slices.ContainsFunc(list, func(o NetworkInfo) bool { return o.Name == n.Name && o.Bridge == n.Bridge }) {
			list = append(list, n)
		}
	}
	for _, a := range s.read() { // what was used is truer than what is configured by now
		add(a.Config)
	}
	for _, pattern := range []string{"*.conflist", "*.conf", "*/*.conflist"} {
		paths, err := filepath.Glob(filepath.Join(s.configs, pattern))
		if err != nil {
			continue
		}
		for _, path := range paths {
			if b, err := os.ReadFile(path); err == nil {
				add(b)
			}
		}
	}
	slices.SortFunc(list, compareNetworks)
	return list
}

// cniPlugin is what is used of a plugin's configuration.
type cniPlugin struct {
	Type             string `json:"type"`
	Bridge           string `json:"bridge"`
	IPMasq           bool   `json:"ipMasq"`
	IsGateway        bool   `json:"isGateway"`
	IsDefaultGateway bool   `json:"isDefaultGateway"`
	MTU              int    `json:"mtu"`
	IPAM             struct {
		Subnet string `json:"subnet"`
		Ranges [][]struct {
			Subnet string `json:"subnet"`
		} `json:"ranges"`
	} `json:"ipam"`
}

// The bridge plugin's own name of a bridge.
const cniBridge = "cni0"

// parseCNI reads a network's configuration: a list of plugins, or a single one.
func parseCNI(b []byte) (NetworkInfo, bool) {
	var doc struct {
		Name    string            `json:"name"`
		Plugins []cniPlugin       `json:"plugins"`
		Labels  map[string]string `json:"nerdctlLabels"`
		cniPlugin
	}
	if err := json.Unmarshal(b, &doc); err != nil || doc.Name == "" {
		return NetworkInfo{}, false
	}
	main := doc.cniPlugin
	if len(doc.Plugins) > 0 {
		main = doc.Plugins[0]
	}
	n := NetworkInfo{Name: doc.Name, Driver: main.Type, Project: doc.Labels[projectLabel], Options: map[string]string{}}
	if main.Type == "bridge" {
		n.Bridge = main.Bridge
		if n.Bridge == "" {
			n.Bridge = cniBridge
		}
		n.Options["com.docker.network.bridge.enable_ip_masquerade"] = strconv.FormatBool(main.IPMasq)
		n.Internal = !main.IsGateway && !main.IsDefaultGateway
	}
	if main.MTU > 0 {
		n.Options["com.docker.network.driver.mtu"] = strconv.Itoa(main.MTU)
	}
	subnets := []string{main.IPAM.Subnet}
	for _, r := range main.IPAM.Ranges {
		for _, one := range r {
			subnets = append(subnets, one.Subnet)
		}
	}
	n.IPv6 = slices.ContainsFunc(subnets, func(s string) bool { return strings.Contains(s, ":") })
	return n, true
}
