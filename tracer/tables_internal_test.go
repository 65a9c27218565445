package tracer

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/bpf"
)

// newTables are tables in plain memory.
func newTables() tables {
	return tables{&memory{
		devices: make([]bpf.KernelVtDevice, bpf.Devices), address: make([]bpf.KernelVtAddress, bpf.Addresses),
		portOf: make([]uint32, bpf.Targets),
	}}
}

// find looks a device up as vt_lookup_device does.
func (t tables) find(netns uint64, ifindex int) *bpf.KernelVtDevice {
	key := netns<<32 | uint64(uint32(ifindex))
	first := uint32(key * golden >> (64 - 14))
	for probe := range uint32(bpf.Probes) {
		device := &t.mem.devices[(first+probe)%bpf.Devices]
		if device.Netns == uint32(netns) && device.Ifindex == uint32(ifindex) {
			return device
		}
		if device.Role == 0 {
			return nil
		}
	}
	return nil
}

const firstNetns, hostNetns = 4026532000, 4026531840

// fill enters a target as announce does.
func fill(t *testing.T, to tables, number int, netns uint64, port int) {
	t.Helper()
	for _, err := range []error{
		to.setDevice(netns, 0, number, bpf.KernelVtRoleVT_ROLE_NETNS),
		to.setDevice(netns, 2, number, bpf.KernelVtRoleVT_ROLE_DEVICE),
		to.setDevice(hostNetns, port, number, bpf.KernelVtRoleVT_ROLE_PORT),
	} {
		if err != nil {
			t.Fatalf("target %d: %v", number, err)
		}
	}
}

// A thousand targets find their places, whatever numbers the kernel gives them.
func TestDevicesOfManyTargets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		to := newTables()
		netns, port := uint64(firstNetns+random.IntN(1<<20)), random.IntN(1<<20)
		for number := range 1000 {
			netns += uint64(1 + random.IntN(80)) // a namespace takes several inodes
			port += 1 + random.IntN(3)
			fill(t, to, number, netns, port)
		}
	}
}

// Targets come and go for long: what is there is found, what has gone is not,
// and searches for nobody's devices stay short.
func TestDevicesComeAndGo(t *testing.T) {
	to := newTables()
	type where struct {
		netns uint64
		port  int
	}
	live := map[int]where{}
	netns, port := uint64(firstNetns), 100
	add := func(number int) {
		netns, port = netns+60, port+2
		fill(t, to, number, netns, port)
		live[number] = where{netns, port}
	}
	for number := range 1000 {
		add(number)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		number := random.IntN(1000)
		gone := live[number]
		to.dropDevices(number, bpf.KernelVtRoleVT_ROLE_DEVICE, bpf.KernelVtRoleVT_ROLE_PORT)
		to.dropDevices(number, bpf.KernelVtRoleVT_ROLE_NETNS)
		if to.find(gone.netns, 0) != nil || to.find(gone.netns, 2) != nil || to.find(hostNetns, gone.port) != nil {
			t.Fatalf("target %d is still found", number)
		}
		add(number)
	}
	for number, at := range live {
		for _, device := range []*bpf.KernelVtDevice{to.find(at.netns, 0), to.find(at.netns, 2), to.find(hostNetns, at.port)} {
			if device == nil || int(device.Target) != number {
				t.Fatalf("target %d: %+v", number, device)
			}
		}
		to.dropDevices(number, bpf.KernelVtRoleVT_ROLE_DEVICE, bpf.KernelVtRoleVT_ROLE_PORT, bpf.KernelVtRoleVT_ROLE_NETNS)
	}
	for i, device := range to.mem.devices {
		if device.Netns != 0 || device.Role != 0 {
			t.Fatalf("entry %d of an empty table leads searches on: %+v", i, device)
		}
	}
}

// A full run of entries is refused, not written over.
func TestDevicesFull(t *testing.T) {
	to := newTables()
	var full *FullError
	for ifindex := 1; full == nil; ifindex++ {
		if err := to.setDevice(hostNetns, ifindex, 0, bpf.KernelVtRoleVT_ROLE_FOREIGN); err != nil && !errors.As(err, &full) {
			t.Fatal(err)
		}
		if ifindex > bpf.Devices {
			t.Fatal("more devices than the table has places")
		}
	}
	if full.Table != "devices" {
		t.Errorf("%v", full)
	}
}

// One device entered again, after one before it in its run has gone, is one entry.
func TestDeviceTwice(t *testing.T) {
	to := newTables()
	for round := range 3 {
		for ifindex := 1; ifindex < 2000; ifindex++ {
			if err := to.setDevice(hostNetns, ifindex, round, bpf.KernelVtRoleVT_ROLE_FOREIGN); err != nil {
				t.Fatal(err)
			}
			if ifindex%3 == round {
				to.dropDevice(hostNetns, ifindex)
			}
		}
	}
	seen := map[uint32]bool{}
	for _, device := range to.mem.devices {
		if device.Netns != 0 && seen[device.Ifindex] {
			t.Fatalf("device %d is there twice", device.Ifindex)
		}
		seen[device.Ifindex] = seen[device.Ifindex] || device.Netns != 0
	}
}

func TestAddressesOfManyTargets(t *testing.T) {
	to := newTables()
	four, six := netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("fd00::242:ac11:2")
	for number := range 1000 {
		for _, addr := range []netip.Addr{four, six} {
			if err := to.setAddress(addr, uint32(number+1)); err != nil {
				t.Fatal(err)
			}
		}
		four, six = four.Next(), six.Next()
	}
}

func TestSwitchCPUs(t *testing.T) {
	switched := make([]uint8, bpf.CPUs)
	switchCPUs(switched, 4)
	for cpu, on := range switched {
		if on != 1 {
			t.Fatalf("CPU %d is not switched", cpu)
		}
	}
}
