package journey

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/vethtrace/vethtrace/bpf"
)

// Call is one packet's time at the entry or return of a function.
type Call struct {
	Hop      int   // number of the stamp that ends the hop it lies in, from 1
	Function uint8 // its number
	Return   bool
	T        time.Duration // CLOCK_MONOTONIC
}

// Calls are those of one journey, whose record comes behind them.
type Calls struct {
	Start time.Duration // as in Record
	Calls []Call
}

// IsCalls tells a record of calls in the ring buffer from one of a journey.
func IsCalls(raw []byte) bool { return len(raw) == int(unsafe.Sizeof(bpf.KernelVtCallRecord{})) }

// DecodeCalls reads one. It fails for what says of itself more calls than it can hold.
func DecodeCalls(raw []byte) (Calls, error) {
	var wire bpf.KernelVtCallRecord
	if _, err := binary.Decode(raw, binary.NativeEndian, &wire); err != nil {
		return Calls{}, fmt.Errorf("decode calls of a journey: %w", err)
	}
	if int(wire.Count) > len(wire.Call) {
		return Calls{}, fmt.Errorf("decode calls of a journey: %d of them, want at most %d", wire.Count, len(wire.Call))
	}
	const mask, returns = 1<<timeBits - 1, 0x80
	calls := Calls{Start: time.Duration(wire.Start)}
	for _, word := range wire.Call[:wire.Count] {
		number := uint8(word >> timeBits)
		calls.Calls = append(calls.Calls, Call{
			Hop: int(word >> 56), Function: number &^ returns, Return: number&returns != 0,
			T: calls.Start + time.Duration((word-wire.Start)&mask),
		})
	}
	return calls, nil
}

// Inside returns the calls that lie in one hop, in order.
func (r Record) Inside(hop int) []Call {
	var inside []Call
	for _, call := range r.Calls {
		if call.Hop == hop {
			inside = append(inside, call)
		}
	}
	slices.SortStableFunc(inside, func(a, b Call) int { return int(a.T - b.T) })
	return inside
}
