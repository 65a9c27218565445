package journey

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bpf"
)

func encode(t testing.TB, wire bpf.KernelVtRecord) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, wire); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func stamp(generation, hook uint8, ns uint64) uint64 {
	return uint64(generation)<<56 | uint64(hook)<<48 | ns&(1<<48-1)
}

func sample() bpf.KernelVtRecord {
	wire := bpf.KernelVtRecord{
		Start: 5<<48 + 1<<48 - 10, Key: [2]uint64{7, 0}, Length: 60, Reason: 3, Target: [2]uint16{1, 0}, Peer: [2]uint16{1, 0},
		Stamps: 3, Protocol: 17, Flags: uint8(bpf.KernelVtFlagVT_FLAG_SLOW | bpf.KernelVtFlagVT_FLAG_IPV6),
	}
	// the clock of stamps wraps between the first and the second
	for i, ns := range []uint64{1<<48 - 10, 1<<48 + 5, 1<<48 + 100} {
		wire.Stamp[i] = stamp(0xab, uint8(i+1), ns)
		wire.Ifindex[i], wire.Cpu[i] = uint32(i+10), uint16(i)
	}
	return wire
}

func TestDecode(t *testing.T) {
	r, err := Decode(encode(t, sample()))
	if err != nil {
		t.Fatal(err)
	}
	if r.Targets != [2]int{0, -1} || r.Keys[0] != 7 || r.Length != 60 || r.Protocol != 17 || r.Reason != 3 {
		t.Errorf("%+v", r)
	}
	if !r.Slow || !r.IPv6 || r.Dropped || r.New {
		t.Errorf("flags: %+v", r)
	}
	for i, want := range []time.Duration{0, 15, 110} {
		s := r.Stamps[i]
		if s.T-r.Start != want || s.Hook != Hook(i+1) || s.Ifindex != i+10 || s.CPU != i {
			t.Errorf("stamp %d: %+v, want %v behind the first", i, s, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := sample()
	for name, raw := range map[string][]byte{
		"nothing":   nil,
		"too short": encode(t, good)[:100],
		"no stamps": func() []byte { w := good; w.Stamps = 0; return encode(t, w) }(),
		"too many":  func() []byte { w := good; w.Stamps = bpf.Stamps + 1; return encode(t, w) }(),
	} {
		if r, err := Decode(raw); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Whatever the ring holds, decoding and naming it neither panic nor invent stamps.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Add([]byte{})
	full := sample()
	full.Stamps = bpf.Stamps
	f.Add(append(encode(f, full), 1, 2, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Decode(raw)
		if err != nil {
			return
		}
		if len(r.Stamps) == 0 || len(r.Stamps) > bpf.Stamps {
			t.Fatalf("%d stamps", len(r.Stamps))
		}
		var hooks []Hook
		for _, s := range r.Stamps {
			hooks = append(hooks, s.Hook)
			if s.T < r.Start || s.T-r.Start >= 1<<timeBits {
				t.Errorf("a stamp %v behind the first", s.T-r.Start)
			}
			if s.Hook.String() == "" {
				t.Errorf("hook %d has no name", s.Hook)
			}
		}
		for _, hop := range append(Hops(hooks, Context{Chains: numbered{}}), Next(hooks, Context{Chains: numbered{}})) {
			if hop.Name == "" {
				t.Errorf("a hop of %v has no name", hooks)
			}
		}
	})
}
