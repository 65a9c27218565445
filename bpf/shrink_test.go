package bpf_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/vethtrace/vethtrace/bpf"
)

// mostValue is what the value of a map may take before Linux 6.0 (KMALLOC_MAX_SIZE of amd64).
const mostValue = 4 << 20

// What was made smaller fits where a map may have no larger values, its variables
// lie side by side, and programs still mean the same ones.
func TestShrink(t *testing.T) {
	own, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	small, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	if err := bpf.Shrink(small); err != nil {
		t.Fatal(err)
	}
	if before, after := own.Maps[".bss"].ValueSize, small.Maps[".bss"].ValueSize; before <= mostValue || after > mostValue {
		t.Errorf("%d bytes of variables, %d when small, want at most %d", before, after, mostValue)
	}
	variables := slices.Collect(maps.Values(small.Variables))
	variables = slices.DeleteFunc(variables, func(v *ebpf.VariableSpec) bool { return v.SectionName != ".bss" })
	slices.SortFunc(variables, func(a, b *ebpf.VariableSpec) int { return int(a.Offset) - int(b.Offset) })
	var end uint32
	for _, v := range variables {
		was := own.Variables[v.Name]
		if v.Offset < end || v.Offset%64 != was.Offset%64 {
			t.Errorf("%s: at %d, the one before ends at %d; it was at %d", v.Name, v.Offset, end, was.Offset)
		}
		end = v.Offset + v.Size()
	}
	if end > small.Maps[".bss"].ValueSize {
		t.Errorf("the last variable ends at %d of %d", end, small.Maps[".bss"].ValueSize)
	}
	for name, program := range small.Programs {
		for i, ins := range program.Instructions {
			if ins.Reference() != ".bss" {
				continue
			}
			if was, is := variableAt(own, own.Programs[name].Instructions[i].Constant), variableAt(small, ins.Constant); was == "" || was != is {
				t.Errorf("%s: instruction %d is of %q, and was of %q", name, i, is, was)
			}
		}
	}
}
