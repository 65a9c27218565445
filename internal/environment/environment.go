// SPDX-License-Identifier: Apache-2.0

// Package environment is what a measurement was made in, as far as repeating
// it, or comparing it with another one, needs it: the kernel, the processor, the
// devices, the settings that packets meet, the rules, the engine.
//
//	/proc, /sys, netlink, ethtool, the engine ─probe─> Environment ─Differences─> what two runs do not share
//
// What cannot be read is empty, and named in Unread.
package environment

// Environment is what a run was made in. Keys are those of docs/schema.json.
type Environment struct {
	Host      Host              `json:"host" doc:"the machine"`
	Kernel    Kernel            `json:"kernel" doc:"the running kernel"`
	CPU       CPU               `json:"cpu" doc:"the processors"`
	Devices   []Device          `json:"devices" doc:"network devices of the host's namespace"`
	Sysctls   map[string]string `json:"sysctls" doc:"settings of the host's namespace that packets meet, by the name that sysctl gives them"`
	Netfilter Netfilter         `json:"netfilter" doc:"rules of the host's namespace"`
	Docker    *Docker           `json:"docker" doc:"the engine, null where none was asked"`
	Tool      string            `json:"tool" doc:"version of vethtrace"`
	Unread    []string          `json:"unread" doc:"what could not be read, and why"`
}

// Host tells machines apart without naming them to a stranger.
type Host struct {
	Name    string `json:"name" doc:"host name"`
	Machine string `json:"machine" doc:"the first 12 digits of the SHA-256 of /etc/machine-id: the same for all runs of one installation; empty where there is none"`
	Boot    string `json:"boot" doc:"boot id of the kernel: another one after each boot"`
}

// Kernel is what runs.
type Kernel struct {
	Release string `json:"release" doc:"as uname -r prints it"`
	Version string `json:"version" doc:"as uname -v prints it"`
	Arch    string `json:"arch" doc:"as uname -m prints it"`
}

// CPU is what it runs on.
type CPU struct {
	Model       string            `json:"model" doc:"of the first processor"`
	Count       int               `json:"count" doc:"processors that are online"`
	Virtual     bool              `json:"virtual" doc:"a hypervisor says that it is there"`
	Governor    string            `json:"governor" doc:"of frequency, empty where the kernel governs none; several are joined by commas"`
	ClockSource string            `json:"clock_source" doc:"that the kernel reads time from"`
	Mitigations map[string]string `json:"mitigations" doc:"against faults of the processor, by the name of the fault; those that do not concern this one are left out"`
}

// Device is a network device.
type Device struct {
	Name     string   `json:"name" doc:"of the device"`
	Kind     string   `json:"kind" doc:"veth, bridge, ...; empty for hardware"`
	Driver   string   `json:"driver" doc:"that ethtool names; empty where it names none"`
	MTU      int      `json:"mtu" doc:"largest packet, in bytes"`
	Qdisc    string   `json:"qdisc" doc:"queueing discipline at its root; empty where packets are not queued"`
	Offloads []string `json:"offloads" doc:"offloads that are on, as ethtool names them: gro, gso, lro, rx-checksum, sg, tso, tx-checksum"`
}

// Netfilter counts rules.
type Netfilter struct {
	Backend string         `json:"backend" doc:"nf_tables, legacy, both, or none"`
	Rules   int            `json:"rules" doc:"of all families"`
	Chains  map[string]int `json:"chains" doc:"rules by family and table: ip/filter"`
}

// Docker is an engine and its settings.
type Docker struct {
	Version          string `json:"version" doc:"of the engine"`
	StorageDriver    string `json:"storage_driver" doc:"of images and containers"`
	CgroupVersion    string `json:"cgroup_version" doc:"1 or 2"`
	Runtime          string `json:"runtime" doc:"that starts containers"`
	UserlandProxy    *bool  `json:"userland_proxy" doc:"whether docker-proxy serves published ports; null where no port is published, for the engine does not say"`
	BridgeName       string `json:"bridge_name" doc:"of the default network"`
	BridgeMTU        string `json:"bridge_mtu" doc:"of the default network"`
	BridgeICC        string `json:"bridge_icc" doc:"whether containers of the default network may talk to each other"`
	BridgeMasquerade string `json:"bridge_masquerade" doc:"whether the default network hides its addresses"`
	IPv4Forwarding   bool   `json:"ipv4_forwarding" doc:"as the engine sees it"`
}
