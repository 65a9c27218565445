// SPDX-License-Identifier: Apache-2.0

package wiring

// The kinds of steps.
const (
	KindStart  = "start"  // where the packet begins
	KindRule   = "rule"   // a netfilter rule that matched
	KindPolicy = "policy" // the end of a base chain
	KindRoute  = "route"  // a routing decision
	KindKernel = "kernel" // something that the kernel does without a rule
	KindDevice = "device" // a device or a bridge's port
	KindSocket = "socket" // a socket, or none
)

// The kinds of verdicts.
const (
	Delivered      = "delivered"       // to a process that listens
	Dropped        = "dropped"         // by a rule, a policy, the kernel or a bridge
	Proxied        = "proxy"           // answered by a userland proxy
	NothingListens = "nothing-listens" // it arrives, and no socket takes it
	Leaves         = "leaves"          // the host, by an uplink: what becomes of it there is not known
	Unreachable    = "unreachable"     // nobody has that address, or no device leads there
	HandedOver     = "handed-over"     // to a program, by NFQUEUE or TPROXY
	Undecided      = "unknown"         // depends on something that is not known
)

// Way is the explained way of a packet: the first one of its connection.
type Way struct {
	From     string  `json:"from" doc:"address and port; the port stands for any; of icmp the address"`
	To       string  `json:"to" doc:"address and port; of icmp the address"`
	Protocol string  `json:"protocol" doc:"tcp, udp, sctp, icmp"`
	Origin   string  `json:"origin" doc:"where it begins: outside, host, or the name of a target"`
	There    []Step  `json:"there" doc:"each step in order"`
	Onward   []Step  `json:"onward" doc:"the way of the userland proxy's own connection, where one answers"`
	Back     []Step  `json:"back" doc:"the way of the answer to where the packet began, where there is one"`
	Verdict  Verdict `json:"verdict" doc:"what becomes of it"`
}

// Step is one thing that happens to a packet.
type Step struct {
	Place   string `json:"place" doc:"host, or the name of a target: whose namespace it happens in"`
	Kind    string `json:"kind" doc:"what the step is" enum:"start,rule,policy,route,kernel,device,socket"`
	Hook    string `json:"hook" doc:"prerouting, input, forward, output, postrouting; empty outside of netfilter"`
	Text    string `json:"text" doc:"the rule, the route, what happens, in words"`
	Does    string `json:"does" doc:"accept, drop, jump DOCKER, dnat, ...; empty for a mere step"`
	NAT     string `json:"nat" doc:"the translation: dnat 192.0.2.1:8080 -> 172.17.0.2:80; empty for none"`
	Rule    *Rule  `json:"rule" doc:"of kind rule; null otherwise"`
	Perhaps bool   `json:"perhaps" doc:"it is not known whether the rule matches, nor does it matter"`
	Decides bool   `json:"decides" doc:"this step decided a hook, or the verdict"`
}

// Verdict is what becomes of a packet.
type Verdict struct {
	Kind      string    `json:"kind" doc:"what becomes of it" enum:"delivered,dropped,proxy,nothing-listens,leaves,unreachable,handed-over,unknown"`
	Text      string    `json:"text" doc:"the same in one sentence"`
	Why       string    `json:"why" doc:"of kind proxy: why no rule sends it to the container; of kind unknown: what is not known; empty otherwise"`
	Target    string    `json:"target" doc:"name of the target it ends in; empty for none"`
	Processes []Process `json:"processes" doc:"that hold the socket which takes it; empty for none"`
	Rule      *Rule     `json:"rule" doc:"the rule that drops, or that leaves it to the proxy; null for none"`
	Answered  string    `json:"answered" doc:"where the answer ends: client, or why it does not get there; empty without an answer"`
}
