package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// SmallSlots is how many journeys may be under way at once where variables must
// be small.
const SmallSlots = Slots / 4

// slotsVariable is the one that takes most of the room.
const slotsVariable = "vt_slots"

// Shrink lays the variables of the main object out anew, with fewer slots:
// before Linux 6.0 the value of a map, which a section of variables is, may have
// no more than 4 MiB. Its programs move along, but those that use slots do not pass
// the verifier any more; the fallback object's do, as they take the number
// of slots from their configuration. What they call needs Linux 6.2 anyway.
func Shrink(kernel *ebpf.CollectionSpec) error {
	section, slots, sets := kernel.Maps[shared], kernel.Variables[slotsVariable], kernel.Variables["cfg_set_mask"]
	if section == nil || slots == nil || sets == nil || len(slots.Value)%Slots != 0 {
		return fmt.Errorf("shrink variables: no section %s with %s", shared, slotsVariable)
	}
	end := slots.Offset + uint32(len(slots.Value))
	size := uint32(len(slots.Value) / Slots * SmallSlots)
	cut := uint32(len(slots.Value)) - size
	for _, program := range kernel.Programs {
		moveUp(program.Instructions, end, cut)
	}
	for _, v := range kernel.Variables {
		if v.SectionName == shared && v.Offset >= end {
			v.Offset -= cut
		}
	}
	slots.Value = slots.Value[:size]
	section.ValueSize -= cut
	section.Key, section.Value = nil, nil // types say how large it was
	for i := range section.Contents {
		if content, ok := section.Contents[i].Value.([]byte); ok {
			section.Contents[i].Value = content[:section.ValueSize]
		}
	}
	if err := sets.Set(uint32(SmallSlots/Ways - 1)); err != nil {
		return fmt.Errorf("shrink variables: %w", err)
	}
	return nil
}

// moveUp takes so many bytes from the addresses of variables that lie at end or behind it.
func moveUp(instructions asm.Instructions, end, bytes uint32) {
	for i := range instructions {
		ins := &instructions[i]
		if !ins.IsLoadFromMap() || ins.Reference() != shared || ins.Src != asm.PseudoMapValue {
			continue
		}
		if at := uint32(uint64(ins.Constant) >> 32); at >= end {
			ins.Constant = int64(uint64(at-bytes)<<32 | uint64(uint32(ins.Constant)))
		}
	}
}
