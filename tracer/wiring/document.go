// SPDX-License-Identifier: Apache-2.0

// Package wiring says how containers are connected to their host, and which way
// packets take between them.
//
//	probe.Read (netlink, /proc, netfilter, engine) ─> Facts ─┬─ Document (pure): the wiring
//	                                                         └─ Explain (pure): a packet's Way
//	Document ─> exporter/wiring: text, json, dot, mermaid, svg
//
// Only its probe touches the kernel. Nothing is attached, nothing changed.
package wiring

// Schema is the version of the documents that this package makes. It rises when
// a key is removed or changes its meaning, not when one is added.
const Schema = 1

// Document is the wiring at one moment. Its contract is docs/topology-schema.json,
// which a test makes from the structs here.
type Document struct {
	Schema   int      `json:"schema" doc:"version of this schema; it rises when a key is removed or changes its meaning, not when one is added" const:"1"`
	Version  string   `json:"version" doc:"of vethtrace"`
	Host     Host     `json:"host" doc:"the namespace where bridge and uplinks are: the one that vethtrace ran in"`
	Uplinks  []Device `json:"uplinks" doc:"devices by which packets enter and leave the host; the lowest ones, where devices are stacked"`
	Bridges  []Bridge `json:"bridges" doc:"the host's bridges, also those without ports"`
	Targets  []Target `json:"targets" doc:"containers, processes and namespaces that were asked for"`
	Proxies  []Proxy  `json:"proxies" doc:"userland proxies in the host's namespace"`
	Policies []Policy `json:"policies" doc:"base chains of the filter hooks: what becomes of packets that no rule decides"`
	Ways     []Way    `json:"ways" doc:"explained ways of packets, where --from and --to asked for one"`
	Notes    []string `json:"notes" doc:"what could not be read, and other things that a reader must know"`
}

// Host is the host's network namespace.
type Host struct {
	Netns         uint64   `json:"netns" doc:"inode of the namespace"`
	Forward4      bool     `json:"ip_forward" doc:"IPv4 packets are forwarded"`
	Forward6      bool     `json:"ipv6_forwarding" doc:"IPv6 packets are forwarded"`
	RouteLocalnet bool     `json:"route_localnet" doc:"127.0.0.0/8 may go to other devices than lo"`
	BridgeNF      bool     `json:"br_netfilter" doc:"the module is loaded that shows bridged packets to iptables"`
	NFCall        NFCall   `json:"bridge_nf_call" doc:"for all bridges of the namespace"`
	Backends      []string `json:"rule_backends" doc:"where rules were found: nft, legacy"`
	Rules         int      `json:"rules" doc:"how many rules there are, of both backends and families" min:"0"`
}

// NFCall says which tables are asked about bridged packets.
type NFCall struct {
	IPTables  bool `json:"iptables" doc:"bridged IPv4 packets pass iptables"`
	IP6Tables bool `json:"ip6tables" doc:"bridged IPv6 packets pass ip6tables"`
	ARPTables bool `json:"arptables" doc:"bridged ARP packets pass arptables"`
}

// Device is a network device.
type Device struct {
	Index int      `json:"index" doc:"in its namespace" min:"1"`
	Name  string   `json:"name" doc:"in its namespace"`
	Kind  string   `json:"kind" doc:"as the kernel names it: veth, bridge, macvlan, ...; empty for physical devices and lo"`
	Mode  string   `json:"mode" doc:"of a macvlan or ipvlan: bridge, private, l2, ...; empty otherwise"`
	Other int      `json:"other" doc:"index of the other end of a pair, or of the device beneath, in whichever namespace that is; 0 for none" min:"0"`
	MAC   string   `json:"mac" doc:"empty for devices without"`
	MTU   int      `json:"mtu" doc:"bytes" min:"0"`
	Up    bool     `json:"up" doc:"switched on"`
	State string   `json:"state" doc:"operational: up, down, lowerlayerdown, unknown, ..."`
	Qdisc string   `json:"qdisc" doc:"kind of the root qdisc"`
	XDP   bool     `json:"xdp" doc:"an XDP program is attached; on a veth packets then cross through NAPI"`
	GRO   bool     `json:"gro" doc:"of veths only: packets are received through NAPI and may be merged"`
	NoTSO bool     `json:"no_tso" doc:"of veths only: TCP packets are cut into segments before the device"`
	Addrs []string `json:"addrs" doc:"with their prefix length, IPv4 and IPv6, the kernel's link-local ones too"`
}

// Bridge is a bridge with its ports.
type Bridge struct {
	Device        Device   `json:"device" doc:"the bridge itself, as the host's own device on it"`
	ID            string   `json:"id" doc:"of spanning tree: priority and address"`
	STP           bool     `json:"stp" doc:"spanning tree"`
	VLANFiltering bool     `json:"vlan_filtering" doc:"ports belong to VLANs"`
	NFCall        NFCall   `json:"bridge_nf_call" doc:"as it works: of the namespace or of this bridge, if br_netfilter is loaded"`
	Network       *Network `json:"network" doc:"the engine's network that it is; null where no engine was asked or none has it"`
	Ports         []Port   `json:"ports" doc:"by index; without --container all of them"`
}

// Port is a port of a bridge.
type Port struct {
	Device    Device   `json:"device" doc:"the host's end"`
	State     string   `json:"state" doc:"disabled, listening, learning, forwarding, blocking"`
	Hairpin   bool     `json:"hairpin" doc:"packets may go back by the port that they came by"`
	Isolated  bool     `json:"isolated" doc:"reaches ports that are not isolated only"`
	Learned   []string `json:"learned" doc:"addresses that the bridge's forwarding table has behind this port"`
	Target    string   `json:"target" doc:"name of the target behind it; empty where that is none of those asked for"`
	Interface string   `json:"interface" doc:"the target's device; empty without target"`
}

// Network is a network of an engine.
type Network struct {
	Name        string `json:"name" doc:"as the engine names it"`
	Driver      string `json:"driver" doc:"bridge, macvlan, ipvlan, overlay, ..."`
	Internal    bool   `json:"internal" doc:"nothing but the network itself is reached"`
	ICC         bool   `json:"icc" doc:"containers of the network reach each other; of bridge networks"`
	Masquerade  bool   `json:"masquerade" doc:"what leaves the network gets an address of the host; of bridge networks"`
	HostBinding string `json:"host_binding" doc:"address that ports are published on by default; empty for all"`
	MTU         string `json:"mtu" doc:"the network's MTU option; empty for the default"`
	GatewayMode string `json:"gateway_mode" doc:"nat, nat-unprotected, routed, isolated; empty for the default, nat"`
	Project     string `json:"project" doc:"of compose; empty for none"`
}

// Target is a container, or a process or namespace that stands for one.
type Target struct {
	Name       string       `json:"name" doc:"of the container; of others what they were named by"`
	Aliases    []string     `json:"aliases" doc:"other containers in the same network namespace"`
	ID         string       `json:"id" doc:"the engine's; empty without one"`
	Runtime    string       `json:"runtime" doc:"docker, podman or containerd; empty without an engine"`
	Space      string       `json:"space" doc:"containerd's namespace: default, k8s.io, moby; empty elsewhere"`
	Image      string       `json:"image" doc:"the engine's; empty without one"`
	Project    string       `json:"project" doc:"of compose; empty for none"`
	Mode       string       `json:"mode" doc:"bridge, host, none, slirp4netns, pasta, container:NAME, a network's name; netns where no engine knows"`
	Means      string       `json:"means" doc:"what its way of being connected means for packets, in words"`
	PID        int          `json:"pid" doc:"of its first process; 0 for a namespace without processes" min:"0"`
	Netns      uint64       `json:"netns" doc:"inode of its network namespace"`
	Networks   []Attachment `json:"networks" doc:"the engine's networks that it is connected to"`
	Interfaces []Interface  `json:"interfaces" doc:"its devices but lo; empty in host mode, where they are the host's"`
	Published  []Published  `json:"published" doc:"its published ports"`
	Listens    []Socket     `json:"listens" doc:"sockets in its namespace that wait for packets from anybody; in host mode those of its own processes"`
}

// Attachment is a container's end of an engine's network.
type Attachment struct {
	Network string `json:"network" doc:"its name"`
	Driver  string `json:"driver" doc:"bridge, macvlan, ...; empty where unknown"`
	IP4     string `json:"ip4" doc:"empty for none"`
	IP6     string `json:"ip6" doc:"empty for none"`
	MAC     string `json:"mac" doc:"that the engine gave the device; empty where it does not say"`
}

// Interface is a device of a target and what it is connected to.
type Interface struct {
	Device Device  `json:"device" doc:"in the target's namespace"`
	Peer   *Device `json:"peer" doc:"the host's end of the pair; null for none"`
	Bridge string  `json:"bridge" doc:"of the host, that the peer is a port of; empty for none"`
	Lower  *Device `json:"lower" doc:"the host's device beneath a macvlan, ipvlan or VLAN; null for none"`
	Inner  string  `json:"inner" doc:"the target's own device beneath; empty for none"`
	FDB    bool    `json:"in_fdb" doc:"the bridge's forwarding table has the device's address behind the peer"`
	// Differs compares what the engine, the device and the forwarding table have.
	Differs []string `json:"mac_differs" doc:"where the address that ties the engine's endpoint, the device and the bridge's forwarding table together is not one and the same, in words: changed, or used by another; empty where all that is known agrees"`
	Reason  string   `json:"reason" doc:"why it is connected to nothing of the host; empty where it is"`
}

// Socket is one that waits for packets from anybody.
type Socket struct {
	Protocol  string    `json:"protocol" doc:"tcp, udp, sctp"`
	Addr      string    `json:"addr" doc:"0.0.0.0 or :: for all addresses"`
	Port      uint16    `json:"port" doc:"its number" min:"1"`
	Dual      bool      `json:"dual_stack" doc:"a socket of IPv6 that takes IPv4 as well"`
	Processes []Process `json:"processes" doc:"that hold it; empty where they can't be seen"`
}

// Process is one of the host's process ids.
type Process struct {
	PID  int    `json:"pid" doc:"in vethtrace's own process namespace" min:"1"`
	Name string `json:"name" doc:"of /proc/PID/comm"`
}

// Published is a port of the host that leads to a container.
type Published struct {
	Host      string `json:"host" doc:"address and port on the host"`
	Container uint16 `json:"container" doc:"port in the container" min:"1"`
	Protocol  string `json:"protocol" doc:"tcp, udp, sctp"`
	ByRules   bool   `json:"by_rules" doc:"found in the rules: no engine tells of it"`
	Proxies   []int  `json:"proxies" doc:"process ids of the userland proxies that listen on it"`
	From      string `json:"asked_from" doc:"the address outside that the rules were asked for; empty where there is no uplink of that family"`
	DNAT      *Rule  `json:"dnat" doc:"the rule that translates a packet from outside; null for none"`
	Accept    *Rule  `json:"accept" doc:"the first rule of FORWARD that accepts it; null for none"`
	With      string `json:"with" doc:"what becomes of such a packet on the host, in words"`
	Without   string `json:"without" doc:"what would become of it if the accepting rule were missing, in words; empty without that rule"`
}

// Proxy is a program that takes connections in place of a container.
type Proxy struct {
	Kind    string   `json:"kind" doc:"docker-proxy, rootlesskit, slirp4netns, pasta, vpnkit, ..."`
	PID     int      `json:"pid" doc:"its process" min:"1"`
	Listens []string `json:"listens" doc:"protocol, address and port of each socket"`
	To      string   `json:"to" doc:"where it forwards; empty where its command line does not say"`
	Target  string   `json:"target" doc:"name of the target that has that address; empty for none of those asked for"`
}

// Policy is the end of a base chain.
type Policy struct {
	Backend  string `json:"backend" doc:"nft or legacy" enum:"nft,legacy"`
	Family   string `json:"family" doc:"ip, ip6, inet, bridge"`
	Table    string `json:"table" doc:"that the chain is in"`
	Chain    string `json:"chain" doc:"the base chain"`
	Hook     string `json:"hook" doc:"prerouting, input, forward, output, postrouting"`
	Priority int    `json:"priority" doc:"lower ones run first"`
	Policy   string `json:"policy" doc:"accept or drop"`
	Rules    int    `json:"rules" doc:"in the chain itself" min:"0"`
}

// Rule names a netfilter rule.
type Rule struct {
	Backend string  `json:"backend" doc:"nft or legacy" enum:"nft,legacy"`
	Family  string  `json:"family" doc:"ip, ip6, inet, bridge"`
	Table   string  `json:"table" doc:"that its chain is in"`
	Chain   string  `json:"chain" doc:"that it is in"`
	Number  int     `json:"number" doc:"its place in its chain, from 1" min:"1"`
	Text    string  `json:"text" doc:"as its user writes it"`
	Packets *uint64 `json:"packets" doc:"its live counter; null for a rule without one"`
}
