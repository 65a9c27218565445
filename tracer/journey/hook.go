// Package journey reads what the kernel programs recorded of one packet: which
// hooks it passed, and what the stretches between them are called. All of it is
// pure: no root, no kernel.
//
//	hook numbers in order of passing -> Hops -> names, sides
//	ring buffer bytes -> Decode -> Record
package journey

import (
	"fmt"

	"github.com/vethtrace/vethtrace/bpf"
)

// Hook is the number of a hook, as stamps carry it (enum vt_hook of bpf/journey.h).
type Hook uint8

// Hooks of devices and tracepoints.
const (
	UplinkIngress   = Hook(bpf.KernelVtHookVT_HOOK_UPLINK_INGRESS)
	UplinkEgress    = Hook(bpf.KernelVtHookVT_HOOK_UPLINK_EGRESS)
	BridgeIngress   = Hook(bpf.KernelVtHookVT_HOOK_BRIDGE_INGRESS)
	BridgeEgress    = Hook(bpf.KernelVtHookVT_HOOK_BRIDGE_EGRESS)
	PortIngress     = Hook(bpf.KernelVtHookVT_HOOK_PORT_INGRESS)
	PortEgress      = Hook(bpf.KernelVtHookVT_HOOK_PORT_EGRESS)
	DeviceIngress   = Hook(bpf.KernelVtHookVT_HOOK_DEVICE_INGRESS)
	DeviceEgress    = Hook(bpf.KernelVtHookVT_HOOK_DEVICE_EGRESS)
	LoopbackIngress = Hook(bpf.KernelVtHookVT_HOOK_LOOPBACK_INGRESS)
	LoopbackEgress  = Hook(bpf.KernelVtHookVT_HOOK_LOOPBACK_EGRESS)
	NetifRx         = Hook(bpf.KernelVtHookVT_HOOK_NETIF_RX)
	GROReceive      = Hook(bpf.KernelVtHookVT_HOOK_GRO_RECEIVE)
	StartXmit       = Hook(bpf.KernelVtHookVT_HOOK_START_XMIT)
	KfreeSkb        = Hook(bpf.KernelVtHookVT_HOOK_KFREE_SKB)

	firstNetfilter = Hook(bpf.KernelVtHookVT_HOOK_NETFILTER)
	endNetfilter   = Hook(bpf.KernelVtHookVT_HOOK_MAX)
)

// Borders is how many borders a netfilter hook can have; the last one has number Borders-1.
const Borders = 12

// LastBorder is the number of a netfilter hook's last border.
const LastBorder = Borders - 1

// Point is a netfilter hook number (enum nf_inet_hooks of the kernel).
type Point uint8

// The netfilter hooks.
const (
	PreRouting  Point = 0
	LocalIn     Point = 1
	Forward     Point = 2
	LocalOut    Point = 3
	PostRouting Point = 4
)

// String returns the hook's name as hops spell it: prerouting, input, forward, output, postrouting.
func (p Point) String() string {
	names := [...]string{"prerouting", "input", "forward", "output", "postrouting"}
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("hook%d", uint8(p))
}

// single names the hooks that are not netfilter's; "" for those. A switch: a
// snapshot of many targets asks thousands of times.
func (h Hook) single() string {
	switch h {
	case UplinkIngress:
		return "uplink/ingress"
	case UplinkEgress:
		return "uplink/egress"
	case BridgeIngress:
		return "bridge/ingress"
	case BridgeEgress:
		return "bridge/egress"
	case PortIngress:
		return "port/ingress"
	case PortEgress:
		return "port/egress"
	case DeviceIngress:
		return "device/ingress"
	case DeviceEgress:
		return "device/egress"
	case LoopbackIngress:
		return "loopback/ingress"
	case LoopbackEgress:
		return "loopback/egress"
	case NetifRx:
		return "netif_rx"
	case GROReceive:
		return "napi_gro_receive"
	case StartXmit:
		return "net_dev_start_xmit"
	case KfreeSkb:
		return "kfree_skb"
	}
	return ""
}

// Netfilter returns the number of a netfilter border: of the target's namespace
// or the host's, of one hook, border 0 being its first and LastBorder its last.
func Netfilter(target bool, point Point, border int) Hook {
	side := 0
	if target {
		side = 1
	}
	return firstNetfilter + Hook((side*5+int(point))*Borders+border)
}

// AsNetfilter takes such a number apart; ok is false for other hooks.
func (h Hook) AsNetfilter() (target bool, point Point, border int, ok bool) {
	if h < firstNetfilter || h >= endNetfilter {
		return false, 0, 0, false
	}
	n := int(h - firstNetfilter)
	return n/Borders/5 == 1, Point(n / Borders % 5), n % Borders, true
}

// IsDevice tells whether the hook carries the index of a device.
func (h Hook) IsDevice() bool { return h > 0 && h <= StartXmit }

// OfTarget tells whether the hook lies in the target's namespace. NetifRx and
// GROReceive lie in the namespace of the device that receives; crossing tells
// by the hook before it.
func (h Hook) OfTarget() bool {
	if h == DeviceIngress || h == DeviceEgress {
		return true
	}
	target, _, _, ok := h.AsNetfilter()
	return ok && target
}

// String returns the hook's stable name: uplink/ingress, netif_rx, host/forward/first.
func (h Hook) String() string {
	if name := h.single(); name != "" {
		return name
	}
	target, point, border, ok := h.AsNetfilter()
	if !ok {
		return fmt.Sprintf("hook%d", uint8(h))
	}
	side := "host"
	if target {
		side = "target"
	}
	switch border {
	case 0:
		return fmt.Sprintf("%s/%s/first", side, point)
	case LastBorder:
		return fmt.Sprintf("%s/%s/last", side, point)
	}
	return fmt.Sprintf("%s/%s/%d", side, point, border)
}
