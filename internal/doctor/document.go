// SPDX-License-Identifier: Apache-2.0

// Package doctor tells whether vethtrace works on a machine, how well, and what
// to do where it does not: what a bug report needs, in one document.
//
//	/proc, /sys, netlink, the engine ─┐
//	a try of every hook              ─┼─probe─> Facts ─Judge─> Document ──> text, JSON
//	a run in a throw-away world      ─┘
//
// Judge is pure. Names of containers and of the host are not in the document
// unless they were asked for: it is made to be shown to strangers.
package doctor

import "github.com/vethtrace/vethtrace/internal/environment"

// Schema is the version of the document.
const Schema = 1

// State is what a line of the table comes to.
type State string

// The states.
const (
	OK   State = "ok"   // as it should be
	Note State = "note" // worth knowing; nothing is wrong
	Warn State = "warn" // works, with a loss or at a cost
	Fail State = "fail" // does not work
)

// Document is what there is to say. Its contract is docs/doctor-schema.json,
// generated from these structs.
type Document struct {
	Schema      int                     `json:"schema" const:"1" doc:"version of this schema"`
	Version     string                  `json:"version" doc:"of vethtrace"`
	Time        string                  `json:"time" format:"date-time" doc:"when this was found out, UTC"`
	Works       bool                    `json:"works" doc:"whether the default detail works: exit status 0, else 3"`
	Verdict     string                  `json:"verdict" doc:"the same in words"`
	Checks      []Check                 `json:"checks" doc:"lines of the table, in order"`
	Hooks       []Hook                  `json:"hooks" doc:"every row of the table of hooks, tried in a throw-away world; empty where no such world can be made"`
	Functions   []Attempt               `json:"functions" doc:"the providers of functions (--detail functions), in the order of preference: the first that works is taken; empty where none could be tried"`
	Devices     []MetDevice             `json:"devices" doc:"the devices concerned: uplinks and bridges, or what leads to the targets that were named"`
	Cost        Cost                    `json:"cost" doc:"what tracing costs here, measured in the throw-away world"`
	Modules     []Module                `json:"modules" doc:"parts of the kernel that may be modules"`
	Environment environment.Environment `json:"environment" doc:"the machine; its name is left out"`
}

// Check is a line of the table.
type Check struct {
	Section string `json:"section" enum:"kernel,rights,hooks,network,engine,cost" doc:"what it is about"`
	Name    string `json:"name" doc:"what was looked at"`
	State   State  `json:"state" enum:"ok,note,warn,fail" doc:"ok; note: worth knowing; warn: works with a loss; fail: does not work"`
	Value   string `json:"value" doc:"what was found"`
	Todo    string `json:"todo" doc:"what to do about it; empty where there is nothing to do"`
}

// Hook is a row of the table of hooks.
type Hook struct {
	Hook     string    `json:"hook" doc:"its name, as in docs/hops.md"`
	Program  string    `json:"program" doc:"the BPF program"`
	Is       string    `json:"is" doc:"what it does to a journey: start, border, end, null hop, ..."`
	Details  []string  `json:"details" enum:"devices,hooks,tables" doc:"the details that have it"`
	State    State     `json:"state" enum:"ok,note,warn,fail" doc:"ok: by the first provider; warn: by another one, or an optional one is missing; fail: the default detail lacks it"`
	Provider string    `json:"provider" doc:"the kernel interface that it gets; empty where none works"`
	Tried    []Attempt `json:"tried" doc:"the providers that were tried, in order, up to the one that works"`
	Todo     string    `json:"todo" doc:"what to do about it; empty where there is nothing to do"`
}

// Attempt is a provider that was tried.
type Attempt struct {
	Provider string `json:"provider" doc:"the kernel interface"`
	Error    string `json:"error" doc:"why it does not work; empty where it does"`
}

// MetDevice is a network device that packets of targets meet.
type MetDevice struct {
	Where     string   `json:"where" doc:"host, or the target in whose namespace it is"`
	Name      string   `json:"name" doc:"of the device"`
	Role      string   `json:"role" enum:"uplink,bridge,port,device" doc:"uplink; bridge; port: the host's end of a target's device; device: a target's own"`
	Kind      string   `json:"kind" doc:"veth, bridge, ...; empty for hardware"`
	Driver    string   `json:"driver" doc:"that ethtool names; empty where it names none"`
	MTU       int      `json:"mtu" doc:"largest packet, in bytes"`
	Qdisc     string   `json:"qdisc" doc:"queueing discipline at its root; empty where packets are not queued"`
	Offloads  []string `json:"offloads" doc:"offloads that are on, as ethtool names them"`
	XDP       string   `json:"xdp" doc:"how an XDP program is attached: native, generic, offloaded; empty where there is none"`
	Others    int      `json:"others" doc:"tcx programs of others at the device, both directions"`
	NFCall    string   `json:"nf_call" doc:"of a bridge: the families whose packets its own setting sends through iptables, whatever the namespace's sysctls say; else empty"`
	CallsNAPI bool     `json:"napi" doc:"a veth that receives by NAPI (GRO or XDP): its packets pass generic receive offload"`
}

// Module is a part of the kernel that may be a module.
type Module struct {
	Name  string `json:"name" doc:"of the module"`
	State string `json:"state" enum:"builtin,loaded,absent,unknown" doc:"builtin: in the kernel itself; loaded; absent: not loaded, or not in this kernel; unknown: it cannot be told without the kernel's types"`
	BTF   bool   `json:"btf" doc:"the kernel has its types: its functions can be probed"`
}

// Cost is what tracing costs.
type Cost struct {
	Stamps  []StampCost `json:"stamps" doc:"what one stamp costs, by the kind of hook"`
	Packets []PathCost  `json:"packets" doc:"what one packet pays at the default detail, by path"`
}

// StampCost is the cost of a stamp.
type StampCost struct {
	Kind string  `json:"kind" doc:"tcx, netfilter, tracepoint, or device (a device's border by a tracepoint)"`
	Ns   float64 `json:"ns" doc:"median of the null hops: two programs of that kind with nothing between them, in nanoseconds"`
}

// PathCost is the cost of a packet.
type PathCost struct {
	Target string  `json:"target" enum:"bridge mode,host mode" doc:"how the target is connected"`
	Way    string  `json:"way" enum:"in,out" doc:"towards the target, or from it"`
	Stamps int     `json:"stamps" doc:"that the packet passes, start and end among them"`
	Ns     float64 `json:"ns" doc:"what they cost together, in nanoseconds"`
	Count  uint64  `json:"packets" doc:"that took this path while this was measured"`
}
