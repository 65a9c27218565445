package tracer

import (
	"slices"
	"strconv"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
)

// deviceName is the name of the device that a stamp carries, "" for netfilter hooks.
func (t *Tracer) deviceName(state *pathState, i int) string {
	others := state.peerDevices
	if others == nil {
		others = t.devicesOfPeer(state.target, state.peer)
	}
	return t.nameOf(inside{state.target.devices, others, state.egress}, state.hooks, state.ifindex, i)
}

// inside are the names, by index, of the devices in the namespaces that a path leads through beside the host's.
type inside struct {
	own    map[int]string // the target's
	others map[int]string // of the target at the other end
	egress bool
}

// of are those of the sender, or of the receiver.
func (d inside) of(sender bool) map[int]string {
	if sender == d.egress {
		return d.own
	}
	return d.others
}

// devicesOfPeer are those of the target at the other end, by index; nil where it is none.
func (t *Tracer) devicesOfPeer(of *target, peer uint16) map[int]string {
	number := int(peer) - int(bpf.KernelVtPeerVT_PEER_TARGET)
	if other := t.byNumber(number, of); other != nil {
		return other.devices
	}
	return nil
}

func (t *Tracer) nameOf(devices inside, hooks []journey.Hook, ifindex []int, i int) string {
	index := ifindex[i]
	if index == 0 {
		return ""
	}
	inTarget := hooks[i].OfTarget()
	if hooks[i] == journey.NetifRx || hooks[i] == journey.GROReceive {
		// the device that receives is at the other side of the one that sent
		inTarget = i > 0 && hooks[i-1] == journey.PortEgress
	}
	names := t.hostNames
	if inTarget {
		// what is sent to a target has passed the host's end of its veth; where there is none (macvlan),
		// its own device is the first thing of it
		received := hooks[i] == journey.DeviceIngress || slices.Contains(hooks[:i], journey.PortEgress)
		names = devices.of(!received)
	}
	if name, ok := names[index]; ok {
		return name
	}
	return "if" + strconv.Itoa(index)
}
