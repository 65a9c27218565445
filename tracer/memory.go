package tracer

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bpf"
)

// memory is what the kernel programs write, mapped into this process: reading
// it costs no system call and disturbs nothing.
type memory struct {
	shards int

	bss      region
	owners   []uint64              // owner words of the slots
	slots    []bpf.KernelVtSlot    // beside them
	devices  []bpf.KernelVtDevice  // written by us
	portOf   []uint32              // written by us: index of the host's end of each target's first device
	address  []bpf.KernelVtAddress // written by us
	ports    [2][]uint16           // written by us and by LISTEN events; by protocol: TCP, UDP
	filter   []uint64              // written by us before attaching
	groups   []bpf.KernelVtGroup   // written by us
	switched []uint8               // written by us: CPUs whose device borders tracepoints take
	open     *uint64               // written by us: since when
	runs     []bpf.KernelVtRuns    // of programs, by CPU
	hists    array[bpf.KernelVtHist]
	paths    array[bpf.KernelVtPath]
	accounts array[bpf.KernelVtAccount]
	waiting  array[bpf.KernelVtHist]
	null     array[bpf.KernelVtHist]
	rows     array[bpf.KernelVtRow] // of functions
}

// region is one mapping.
type region []byte

func mapMemory(m *ebpf.Map, size int) (region, error) {
	page := os.Getpagesize()
	length := (size + page - 1) / page * page
	mem, err := unix.Mmap(m.FD(), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map memory of %s: %w", m, err)
	}
	return mem, nil
}

func (r region) close() error {
	if r == nil {
		return nil
	}
	return unix.Munmap(r)
}

// array is the memory of a BPF array with values of type T.
type array[T any] struct {
	mem    region
	stride int
	count  int
}

func mapArray[T any](m *ebpf.Map) (array[T], error) {
	stride := (int(m.ValueSize()) + 7) / 8 * 8 // the kernel rounds values of arrays up to 8
	a := array[T]{stride: stride, count: int(m.MaxEntries())}
	var err error
	a.mem, err = mapMemory(m, stride*a.count)
	return a, err
}

// at returns the value with that index; it stays valid until the memory is unmapped.
func (a array[T]) at(i int) *T {
	return (*T)(unsafe.Pointer(&a.mem[i*a.stride]))
}

// within returns n values of type T that begin at a byte of the region.
func within[T any](r region, offset uint32, n int) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&r[offset])), n)
}

func newMemory(spec *ebpf.CollectionSpec, maps *bpf.KernelMaps, bss *ebpf.Map, shards, cpus int) (*memory, error) {
	m := &memory{shards: shards}
	var err error
	if m.bss, err = mapMemory(bss, int(bss.ValueSize())); err != nil {
		return nil, err
	}
	at := func(name string) uint32 { return spec.Variables[name].Offset }
	slots := len(spec.Variables["vt_slots"].Value) / int(unsafe.Sizeof(bpf.KernelVtSlot{})) // fewer where variables must be small
	m.owners = within[uint64](m.bss, at("vt_owners"), slots)
	m.slots = within[bpf.KernelVtSlot](m.bss, at("vt_slots"), slots)
	m.devices = within[bpf.KernelVtDevice](m.bss, at("vt_devices"), bpf.Devices)
	m.portOf = within[uint32](m.bss, at("vt_port_index"), bpf.Targets)
	m.address = within[bpf.KernelVtAddress](m.bss, at("vt_addresses"), bpf.Addresses)
	m.ports[0] = within[uint16](m.bss, at("vt_ports"), 1<<16)
	m.ports[1] = within[uint16](m.bss, at("vt_ports")+2<<16, 1<<16)
	m.filter = within[uint64](m.bss, at("vt_filter_ports"), 1<<10)
	m.groups = within[bpf.KernelVtGroup](m.bss, at("vt_groups"), bpf.Groups)
	m.switched = within[uint8](m.bss, at("vt_switched"), bpf.CPUs)
	m.open = &within[uint64](m.bss, at("vt_open"), 1)[0]
	m.runs = within[bpf.KernelVtRuns](m.bss, at("vt_runs"), min(cpus, bpf.CPUs))
	for _, arrayOf := range []struct {
		from *ebpf.Map
		to   *array[bpf.KernelVtHist]
	}{{maps.VtHists, &m.hists}, {maps.VtWaiting, &m.waiting}, {maps.VtNull, &m.null}} {
		if *arrayOf.to, err = mapArray[bpf.KernelVtHist](arrayOf.from); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	if m.paths, err = mapArray[bpf.KernelVtPath](maps.VtPaths); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if m.rows, err = mapArray[bpf.KernelVtRow](maps.VtRows); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if m.accounts, err = mapArray[bpf.KernelVtAccount](maps.VtAccounts); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *memory) close() error {
	return errors.Join(m.hists.mem.close(), m.paths.mem.close(), m.accounts.mem.close(),
		m.waiting.mem.close(), m.null.mem.close(), m.rows.mem.close(), m.bss.close())
}

// waits tells whether anything is in the histograms of what follows the end for a target.
func (m *memory) waits(number int) bool {
	for i := number * 3 * m.shards; i < (number+1)*3*m.shards; i++ {
		hist := m.waiting.at(i)
		if atomic.LoadUint64(&hist.Sum) != 0 || atomic.LoadUint32(&hist.Bucket[0]) != 0 {
			return true
		}
	}
	return false
}

// clearWaiting forgets what the target that had this number before has waited.
func (m *memory) clearWaiting(number int) {
	for i := number * 3 * m.shards; i < (number+1)*3*m.shards; i++ {
		*m.waiting.at(i) = bpf.KernelVtHist{}
	}
}

// setOpen lets journeys start from now on (CLOCK_MONOTONIC); 0: no longer.
func (m *memory) setOpen(now time.Duration) { atomic.StoreUint64(m.open, uint64(now)) }

// eachLive calls fn for each journey under way, with the numbers plus 1 of its
// targets by direction. A slot can end while it is looked at.
func (m *memory) eachLive(fn func(slot int, targets [2]uint16)) {
	const live = uint64(bpf.KernelVtStateVT_STATE_LIVE)
	for i := range m.owners {
		if atomic.LoadUint64(&m.owners[i])&7 == live {
			fn(i, m.slots[i].Target)
		}
	}
}

// cut ends a journey that can no longer be followed; false when it ended by
// itself. Its slot is free: what follows an end is not for this packet.
func (m *memory) cut(slot int) bool {
	const live, free = uint64(bpf.KernelVtStateVT_STATE_LIVE), uint64(bpf.KernelVtStateVT_STATE_FREE)
	owner := atomic.LoadUint64(&m.owners[slot])
	return owner&7 == live && atomic.CompareAndSwapUint64(&m.owners[slot], owner, owner&^7|free)
}

// forget frees the slots of journeys that have ended. While the hooks are away
// nobody sees whose packet has the same memory next, so nothing that happens
// there is told of the one that had it.
func (m *memory) forget() {
	const ended, free = uint64(bpf.KernelVtStateVT_STATE_ENDED), uint64(bpf.KernelVtStateVT_STATE_FREE)
	for i := range m.owners {
		if owner := atomic.LoadUint64(&m.owners[i]); owner&7 == ended {
			atomic.CompareAndSwapUint64(&m.owners[i], owner, owner&^7|free)
		}
	}
}

// drain waits for journeys under way to end, at most so long.
func (m *memory) drain(most time.Duration) {
	for until := time.Now().Add(most); time.Now().Before(until) && m.live() > 0; {
		time.Sleep(time.Millisecond)
	}
}

// ran is how often programs have run so far, by the type of their hook.
func (m *memory) ran() (sum [bpf.KernelVtTypeVT_TYPE_MAX]uint64) {
	for cpu := range m.runs {
		for i := range sum {
			sum[i] += atomic.LoadUint64(&m.runs[cpu].Runs[i])
		}
	}
	return sum
}

// live is how many journeys are under way.
func (m *memory) live() (n int) {
	m.eachLive(func(int, [2]uint16) { n++ })
	return n
}
