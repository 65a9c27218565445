package tracer

//go:generate go run ../internal/tools/hopsdoc ../docs/hops.md

import (
	"slices"

	"github.com/vethtrace/vethtrace/tracer/journey"
)

// Provider is the kernel interface by which a hook is reached.
type Provider string

// The providers.
const (
	ProviderTCX        Provider = "tcx"        // of one device, since Linux 6.6
	ProviderNetfilter  Provider = "netfilter"  // of one namespace, IPv4 and IPv6 each, since Linux 6.4
	ProviderTracepoint Provider = "tracepoint" // of the whole machine (tp_btf)
	ProviderIterator   Provider = "iterator"   // runs once, over the files of all processes

	// Those that hooks come down to where a kernel does not allow the first ones.
	ProviderClsact        Provider = "clsact" // a filter of one device, instead of tcx
	ProviderRawTracepoint Provider = "raw_tp" // of the whole machine, instead of tracepoint
	ProviderTrampoline    Provider = "fentry" // of the whole machine, at functions (fentry, fexit), instead of netfilter
)

// Scope is where a hook is attached.
type Scope string

// The scopes. What is wider is paid for by more bystanders.
const (
	ScopeUplink   Scope = "uplink"   // each uplink
	ScopeBridge   Scope = "bridge"   // each bridge that a target is connected to
	ScopePort     Scope = "port"     // the host's end of each device of a target
	ScopeForeign  Scope = "foreign"  // the host's end of each device of other containers on those bridges
	ScopeDevice   Scope = "device"   // each device of a target, in its namespace
	ScopeLoopback Scope = "loopback" // the host's lo, where host-mode targets or docker-proxy are
	ScopeHost     Scope = "host"     // the host's namespace
	ScopeTarget   Scope = "target"   // a target's namespace
	ScopeMachine  Scope = "machine"  // tracepoints
)

// Duty is when a hook is attached.
type Duty string

// The duties.
const (
	DutyAlways  Duty = "always"
	DutyWindows Duty = "windows" // a twentieth of the time under load, always when there is little traffic
	DutyMinute  Duty = "minute"  // a second of each minute under load, always when there is little traffic
	DutyQueue   Duty = "queue"   // where an uplink has a queueing discipline
	DutyNAPI    Duty = "napi"    // where a veth of a target receives by NAPI (GRO or XDP)
	DutySplits  Duty = "splits"  // where a veth of a target does not take large packets (tso off)
	DutySockets Duty = "sockets" // where host-mode targets or docker-proxy are
	DutyOnce    Duty = "once"    // the same, once for each such target
)

// behindEnd is what hooks do that no journey has: they follow its end.
const behindEnd = "behind the end"

// HookSpec is one row of THE table of hooks.
type HookSpec struct {
	Program  string // of package bpf
	Provider Provider
	Scope    Scope
	Egress   bool          // tcx: on the way out of the device
	Point    journey.Point // netfilter
	Border   int           // netfilter: 0 the first, journey.LastBorder the last
	Details  []Detail
	Bridge   bool // needed for targets that have devices of their own
	HostMode bool // needed for targets that share the host's namespace
	Duty     Duty
	Stays    bool     // with a budget (Config.MaxOverhead): attached all the time, as without one; the others come and go
	By       Provider // only where this provider takes the borders of devices; "": whoever does
	Behind   string   // tcx: the program that it must follow, with nothing between
	Is       string   // start, border, end, null hop, ...: what it does to a journey
	Borders  string   // what it lies between, for docs/hops.md
}

// Hooks returns THE table of hooks: what is attached, where, when and why. It
// drives attaching, documentation and tests. Rows that start journeys come
// last: they are attached when all others stand.
func Hooks() []HookSpec {
	return slices.Concat(deviceHooks(), netfilterHooks(), tracepointHooks(), startHooks())
}

func anyDetail() []Detail  { return []Detail{DetailDevices, DetailHooks, DetailTables} }
func fineDetail() []Detail { return []Detail{DetailHooks, DetailTables} }

func tcx(program string, scope Scope, egress bool, is, borders string) HookSpec {
	return HookSpec{
		Program: program, Provider: ProviderTCX, Scope: scope, Egress: egress, Details: anyDetail(),
		Bridge: scope != ScopeLoopback, HostMode: scope == ScopeUplink || scope == ScopeLoopback,
		Duty: DutyAlways, By: ProviderTCX, Is: is, Borders: borders,
	}
}

func nf(program string, scope Scope, point journey.Point, border int, details []Detail, is, borders string) HookSpec {
	return HookSpec{
		Program: program, Provider: ProviderNetfilter, Scope: scope, Point: point, Border: border,
		Details: details, Bridge: true, HostMode: scope == ScopeHost && point != journey.Forward,
		Duty: DutyAlways, Is: is, Borders: borders,
	}
}

func tp(program string, details []Detail, duty Duty, is, borders string) HookSpec {
	return HookSpec{
		Program: program, Provider: ProviderTracepoint, Scope: ScopeMachine, Details: details,
		Bridge: true, HostMode: program != "vt_netif_rx", Duty: duty, Is: is, Borders: borders,
	}
}

// deviceTP is a tracepoint that takes borders of devices: those that tcx takes elsewhere.
func deviceTP(program string, details []Detail, duty Duty, is, borders string) HookSpec {
	h := tp(program, details, duty, is, borders)
	h.By = ProviderTracepoint
	return h
}

// only is for rows that are there only where that provider takes the borders of
// devices: with a thousand targets there are no null hops in their namespaces.
func only(by Provider, h HookSpec) HookSpec { h.By = by; return h }

func staying(h HookSpec) HookSpec { h.Stays = true; return h }

func onDuty(duty Duty, h HookSpec) HookSpec { h.Duty = duty; return h }

// behind is a null hop of tcx: attached with a stamp, and for a second of each minute.
func behind(program string, h HookSpec) HookSpec {
	h.Behind, h.Duty = program, DutyMinute
	return h
}

func ofDetail(d Detail, h HookSpec) HookSpec { h.Details = []Detail{d}; return h }
func hostModeOnly(h HookSpec) HookSpec       { h.Bridge, h.HostMode = false, true; return h }

func deviceHooks() []HookSpec {
	return []HookSpec{
		tcx("vt_port_egress", ScopePort, true, "border", "the bridge and the veth, towards the target"),
		tcx("vt_port_ingress", ScopePort, false, "border", "the softirq queue and the bridge, from the target"),
		ofDetail(DetailDevices, tcx("vt_foreign_egress", ScopeForeign, true, "end", "the bridge and a container that is no target")),
		tcx("vt_device_ingress", ScopeDevice, false, "border, and the end at detail devices", "the softirq queue and the target's stack"),
		tcx("vt_device_egress", ScopeDevice, true, "border, and the start at detail devices", "the target's stack and the veth"),
		behind("vt_device_egress", tcx("vt_null_tcx", ScopeDevice, true, "null hop of tcx", "two programs, right behind device/egress")),
		tcx("vt_bridge_egress", ScopeBridge, true, "border", "the host's stack and the bridge, towards the target"),
		tcx("vt_bridge_ingress", ScopeBridge, false, "border", "the bridge and the host's stack, from the target"),
		tcx("vt_uplink_egress", ScopeUplink, true, "border, and the end", "the host's stack and the uplink's queue"),
		onDuty(DutySockets, tcx("vt_loopback_egress", ScopeLoopback, true, "border", "the host's stack and lo")),
		onDuty(DutySockets, tcx("vt_loopback_ingress", ScopeLoopback, false, "border", "lo and the host's stack")),
	}
}

func netfilterHooks() []HookSpec {
	return []HookSpec{
		nf("vt_border_last", ScopeHost, journey.PreRouting, journey.LastBorder, fineDetail(), "border", "PRE_ROUTING (conntrack, DNAT) and routing; for bridged packets the rest of the bridge"),
		nf("vt_border_0", ScopeHost, journey.Forward, 0, fineDetail(), "border", "routing and FORWARD"),
		nf("vt_border_last", ScopeHost, journey.Forward, journey.LastBorder, fineDetail(), "border", "FORWARD and POST_ROUTING: nothing lies between them"),
		nf("vt_border_last", ScopeHost, journey.LocalOut, journey.LastBorder, fineDetail(), "border", "LOCAL_OUT and POST_ROUTING"),
		nf("vt_local_in", ScopeHost, journey.LocalIn, journey.LastBorder, anyDetail(), "end", "LOCAL_IN and the transport layer of the host"),
		nf("vt_local_in", ScopeTarget, journey.LocalIn, journey.LastBorder, fineDetail(), "end", "LOCAL_IN and the transport layer of the target"),
		only(ProviderTCX, onDuty(DutyWindows, nf("vt_null_netfilter", ScopeTarget, journey.LocalOut, 1, anyDetail(), "null hop of netfilter", "two programs, right behind the start at LOCAL_OUT"))),
		only(ProviderTracepoint, onDuty(DutyWindows, nf("vt_null_forward", ScopeHost, journey.Forward, 1, fineDetail(), "null hop of netfilter", "two programs, right behind FORWARD's first border"))),
		hostModeOnly(onDuty(DutyWindows, nf("vt_null_netfilter", ScopeHost, journey.LocalOut, 1, anyDetail(), "null hop of netfilter", "the same in the host's namespace"))),
	}
}

func tracepointHooks() []HookSpec {
	return []HookSpec{
		tp("vt_netif_rx", fineDetail(), DutyAlways, "border", "the veth's crossing and the softirq queue"),
		tp("vt_gro_receive", fineDetail(), DutyNAPI, "border", "the softirq (NAPI) and generic receive offload"),
		tp("vt_gro_exit", fineDetail(), DutyNAPI, "end: merged", "generic receive offload, and a packet that has become part of another one"),
		tp("vt_segment", anyDetail(), DutySplits, "copy", "a large packet and its segments, before a veth that does not take it"),
		tp("vt_start_xmit", anyDetail(), DutyQueue, "end", "the uplink's queue and its driver"),
		staying(tp("vt_kfree_skb", anyDetail(), DutyAlways, "end: dropped", "any hop and nothing")),
		staying(tp("vt_sock_state", anyDetail(), DutySockets, "whose a socket is", "-")),
		{
			Program: "vt_sockets_of_tasks", Provider: ProviderIterator, Scope: ScopeMachine, Details: anyDetail(),
			Bridge: true, HostMode: true, Duty: DutyOnce, Stays: true, Is: "whose a socket is", Borders: "-",
		},
		tp("vt_null_tracepoint", fineDetail(), DutyWindows, "null hop of tracepoints", "two programs, right behind netif_rx"),
		deviceTP("vt_null_queue", anyDetail(), DutyWindows, "null hop of device tracepoints", "two programs, right behind device/egress"),
		tp("vt_data_ready", anyDetail(), DutyWindows, behindEnd, "the transport layer and the socket"),
		tp("vt_copy_datagram", anyDetail(), DutyWindows, behindEnd, "the socket and its reader (TCP)"),
		tp("vt_recv_length", anyDetail(), DutyWindows, behindEnd, "the socket and its reader (UDP)"),
	}
}

func startHooks() []HookSpec {
	return []HookSpec{
		nf("vt_local_out", ScopeTarget, journey.LocalOut, 0, fineDetail(), "start", "the target's transport layer and LOCAL_OUT"),
		nf("vt_local_out", ScopeHost, journey.LocalOut, 0, anyDetail(), "start", "the host's transport layer and LOCAL_OUT"),
		deviceTP("vt_device_queue", anyDetail(), DutyAlways, "borders, starts and ends", "as the tcx egress rows: port, foreign, device, bridge, uplink, loopback"),
		deviceTP("vt_device_receive", anyDetail(), DutyAlways, "borders, starts and ends", "as the tcx ingress rows; before packet taps instead of behind them"),
		hostModeOnly(deviceTP("vt_null_receive", anyDetail(), DutyWindows, "null hop of device tracepoints", "two programs, right behind uplink/ingress")),
		tcx("vt_uplink_ingress", ScopeUplink, false, "start", "the uplink's driver and the host's stack"),
		hostModeOnly(behind("vt_uplink_ingress", tcx("vt_null_uplink", ScopeUplink, false, "null hop of tcx", "two programs, right behind uplink/ingress"))),
	}
}

// in tells whether the hook is needed for such targets.
func (h HookSpec) in(bridge, hostMode bool) bool { return h.Bridge && bridge || h.HostMode && hostMode }

// by tells whether the hook is there where that provider takes the borders of devices.
func (h HookSpec) by(devices Provider) bool { return h.By == "" || h.By == devices }

// wants tells whether a detail has this hook.
func (h HookSpec) wants(detail Detail) bool { return slices.Contains(h.Details, detail) }
