package tracer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/vethtrace/vethtrace/bpf"
)

// golden is the multiplier of all of the kernel side's hashes (2^64 / golden ratio).
const golden = 0x9e3779b97f4a7c15

// tables writes what start hooks look up: whose a device, an address or a port
// is. An entry is complete before its key is stored, and its key is cleared
// first: the kernel reads meanwhile.
type tables struct{ mem *memory }

// FullError says that a table of the kernel side has no place for one more entry.
type FullError struct{ Table, Entry string }

// Error says what did not fit.
func (e *FullError) Error() string {
	return fmt.Sprintf("no room for %s in the table of %s: trace fewer targets", e.Entry, e.Table)
}

// setDevice says whose a device of a namespace is; ifindex 0 stands for the namespace itself.
func (t tables) setDevice(netns uint64, ifindex int, target int, role bpf.KernelVtRole) error {
	if role == bpf.KernelVtRoleVT_ROLE_PORT && t.mem.portOf[target%bpf.Targets] == 0 {
		t.mem.portOf[target%bpf.Targets] = uint32(ifindex)
	}
	key := netns<<32 | uint64(uint32(ifindex))
	first := uint32(key * golden >> (64 - 14))
	var place *bpf.KernelVtDevice
	for probe := range uint32(bpf.Probes) {
		device := &t.mem.devices[(first+probe)%bpf.Devices]
		if device.Netns == uint32(netns) && device.Ifindex == uint32(ifindex) {
			place = device
			break
		}
		if place == nil && device.Netns == 0 {
			place = device
		}
	}
	if place != nil {
		place.Target, place.Role, place.Ifindex = uint16(target), uint8(role), uint32(ifindex)
		atomic.StoreUint32(&place.Netns, uint32(netns))
		return nil
	}
	return &FullError{Table: "devices", Entry: fmt.Sprintf("device %d of namespace %d", ifindex, netns)}
}

// dropDevices forgets all devices of a target, or with role FOREIGN of a foreign peer.
func (t tables) dropDevices(target int, roles ...bpf.KernelVtRole) {
	if slices.Contains(roles, bpf.KernelVtRoleVT_ROLE_PORT) {
		t.mem.portOf[target%bpf.Targets] = 0
	}
	for i := range t.mem.devices {
		device := &t.mem.devices[i]
		if device.Netns == 0 || device.Target != uint16(target) {
			continue
		}
		for _, role := range roles {
			if device.Role == uint8(role) {
				t.clearDevice(i)
			}
		}
	}
}

// dropDevice forgets one device of the host.
func (t tables) dropDevice(netns uint64, ifindex int) {
	first := uint32((netns<<32 | uint64(uint32(ifindex))) * golden >> (64 - 14))
	for probe := range uint32(bpf.Probes) {
		at := int((first + probe) % bpf.Devices)
		if device := &t.mem.devices[at]; device.Netns == uint32(netns) && device.Ifindex == uint32(ifindex) {
			t.clearDevice(at)
		}
	}
}

// clearDevice empties an entry. It goes on leading searches past itself, by its
// role, unless it was the last of its run: then it, and empty ones before it,
// end them again.
func (t tables) clearDevice(at int) {
	atomic.StoreUint32(&t.mem.devices[at].Netns, 0)
	for ; t.mem.devices[(at+1)%bpf.Devices].Role == 0; at = (at + bpf.Devices - 1) % bpf.Devices {
		device := &t.mem.devices[at]
		if device.Netns != 0 || device.Role == 0 {
			return
		}
		device.Role = uint8(bpf.KernelVtRoleVT_ROLE_NONE)
	}
}

// addressKey is an address as struct vt_address keeps it: as it lies in a packet.
func addressKey(addr netip.Addr) (high, low uint64) {
	addr = addr.Unmap()
	if addr.Is4() {
		b := addr.As4()
		return 0, 0xffff<<32 | uint64(binary.NativeEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])
}

// setAddress says whose an address is: owner is a target's number plus 1 or bpf.AddressHost.
func (t tables) setAddress(addr netip.Addr, owner uint32) error {
	high, low := addressKey(addr)
	first := uint32((high ^ low) * golden >> (64 - 14))
	var free *bpf.KernelVtAddress
	for probe := range uint32(bpf.Probes) {
		entry := &t.mem.address[(first+probe)%bpf.Addresses]
		if entry.Owner != 0 && entry.High == high && entry.Low == low {
			atomic.StoreUint32(&entry.Owner, owner)
			return nil
		}
		if free == nil && entry.Owner == 0 {
			free = entry
		}
	}
	if free == nil {
		return &FullError{Table: "addresses", Entry: addr.String()}
	}
	free.High, free.Low = high, low
	atomic.StoreUint32(&free.Owner, owner)
	return nil
}

// dropAddresses forgets all addresses of an owner.
func (t tables) dropAddresses(owner uint32) {
	for i := range t.mem.address {
		if entry := &t.mem.address[i]; entry.Owner == owner {
			atomic.StoreUint32(&entry.Owner, 0)
		}
	}
}

// setPort says whose a local port of the host is; published ones are of a target in bridge mode.
func (t tables) setPort(protocol string, port uint16, target int, published bool) {
	value := uint16(target + 1)
	if published {
		value |= bpf.PortPublished
	}
	switch protocol {
	case "tcp":
		storePort(t.mem.ports[0], port, value)
	case "udp":
		storePort(t.mem.ports[1], port, value)
	}
}

// dropPort forgets one port, if it still is that target's.
func (t tables) dropPort(protocol string, port uint16, target int) {
	ports := t.mem.ports[0]
	if protocol == "udp" {
		ports = t.mem.ports[1]
	}
	if ports[port] == uint16(target+1) {
		storePort(ports, port, 0)
	}
}

// dropPorts forgets all ports of a target.
func (t tables) dropPorts(target int) {
	for protocol := range t.mem.ports {
		for port, value := range t.mem.ports[protocol] {
			if value&^bpf.PortPublished == uint16(target+1) {
				storePort(t.mem.ports[protocol], uint16(port), 0)
			}
		}
	}
}

// storePort stores one 16-bit word; stores of aligned words are not torn.
func storePort(ports []uint16, port, value uint16) {
	*(*uint16)(unsafe.Pointer(&ports[port])) = value
}

// setFilter lets only packets with one of these ports start a journey.
func (t tables) setFilter(port uint16) {
	t.mem.filter[port/64] |= 1 << (port % 64)
}

// setFilters lets packets with these ports start a journey and, where one of
// them is a published port, those with the port at its other side: a packet has
// one before NAT and the other behind it.
func (t tables) setFilters(wanted []uint16, published []Port) {
	for _, port := range wanted {
		t.setFilter(port)
	}
	for _, p := range published {
		if slices.Contains(wanted, p.Host.Port()) || slices.Contains(wanted, p.Container) {
			t.setFilter(p.Host.Port())
			t.setFilter(p.Container)
		}
	}
}

// setGroups replaces the list of processes that host-mode targets and proxies have.
func (t tables) setGroups(groups []bpf.KernelVtGroup) error {
	if len(groups) >= bpf.Groups {
		return &FullError{Table: "processes", Entry: fmt.Sprintf("%d groups", len(groups))}
	}
	t.mem.groups[0].Target = 0 // ends the list while it is rewritten
	for i := len(groups); i < bpf.Groups; i++ {
		t.mem.groups[i] = bpf.KernelVtGroup{}
	}
	for i := len(groups) - 1; i >= 0; i-- {
		t.mem.groups[i] = groups[i]
	}
	return nil
}
