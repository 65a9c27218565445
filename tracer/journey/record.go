package journey

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/vethtrace/vethtrace/bpf"
)

// Stamp is one packet's time at one hook.
type Stamp struct {
	Hook    Hook
	Ifindex int // 0 for netfilter hooks
	CPU     int
	T       time.Duration // CLOCK_MONOTONIC
}

// Record is one journey as it left the kernel. Index 0 of the pairs is ingress, 1 egress.
type Record struct {
	Start    time.Duration // CLOCK_MONOTONIC of the first stamp
	Keys     [2]uint64     // of its paths, 0 for none
	Targets  [2]int        // numbers of its targets, -1 for none
	Peers    [2]uint16     // enum vt_peer
	Length   uint32        // bytes of IP and above
	Reason   uint32        // of the drop, as the running kernel's enum skb_drop_reason numbers it
	Protocol uint8
	Dropped  bool
	Slow     bool
	New      bool
	IPv6     bool
	Stamps   []Stamp
	Calls    []Call // of functions, where they are probed
}

// timeBits is how many bits of a stamp are its time: it wraps after 3.2 days,
// a journey takes less.
const timeBits = 48

// Decode reads a record of the ring buffer. It fails for what is too short or
// says of itself more stamps than it can hold.
func Decode(raw []byte) (Record, error) {
	var wire bpf.KernelVtRecord
	if size := int(unsafe.Sizeof(wire)); len(raw) < size {
		return Record{}, fmt.Errorf("decode journey: %d bytes, want %d", len(raw), size)
	}
	if _, err := binary.Decode(raw, binary.NativeEndian, &wire); err != nil {
		return Record{}, fmt.Errorf("decode journey: %w", err)
	}
	if int(wire.Stamps) > len(wire.Stamp) || wire.Stamps == 0 {
		return Record{}, fmt.Errorf("decode journey: %d stamps, want 1 to %d", wire.Stamps, len(wire.Stamp))
	}
	flag := func(f bpf.KernelVtFlag) bool { return wire.Flags&uint8(f) != 0 }
	record := Record{
		Start:    time.Duration(wire.Start),
		Keys:     wire.Key,
		Targets:  [2]int{int(wire.Target[0]) - 1, int(wire.Target[1]) - 1},
		Peers:    wire.Peer,
		Length:   wire.Length,
		Reason:   wire.Reason,
		Protocol: wire.Protocol,
		Dropped:  flag(bpf.KernelVtFlagVT_FLAG_DROPPED),
		Slow:     flag(bpf.KernelVtFlagVT_FLAG_SLOW),
		New:      flag(bpf.KernelVtFlagVT_FLAG_NEW),
		IPv6:     flag(bpf.KernelVtFlagVT_FLAG_IPV6),
	}
	const mask = 1<<timeBits - 1
	first := wire.Stamp[0] & mask
	for i := range int(wire.Stamps) {
		record.Stamps = append(record.Stamps, Stamp{
			Hook:    Hook(wire.Stamp[i] >> timeBits),
			Ifindex: int(wire.Ifindex[i]),
			CPU:     int(wire.Cpu[i]),
			T:       record.Start + time.Duration((wire.Stamp[i]-first)&mask),
		})
	}
	return record, nil
}
