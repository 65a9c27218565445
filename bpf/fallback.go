package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// shared is the section of the variables that both objects have one of.
const shared = ".bss"

// LoadFallbackFor reads the fallback object and makes it use the variables of
// kernel, which LoadKernel has read, or a test's object of the same programs:
// the compiler lays them out in each object as it likes.
func LoadFallbackFor(kernel *ebpf.CollectionSpec) (*ebpf.CollectionSpec, error) {
	fallback, err := LoadFallback()
	if err != nil {
		return nil, err
	}
	if kernel.Maps[shared] == nil {
		return nil, fmt.Errorf("share variables: the object has no section %s", shared)
	}
	for name, program := range fallback.Programs {
		if err := moveVariables(program.Instructions, fallback, kernel); err != nil {
			return nil, fmt.Errorf("share variables of %s: %w", name, err)
		}
	}
	fallback.Maps[shared] = kernel.Maps[shared].Copy()
	return fallback, nil
}

// moveVariables turns addresses of variables in one object into those in another.
func moveVariables(instructions asm.Instructions, from, to *ebpf.CollectionSpec) error {
	for i := range instructions {
		ins := &instructions[i]
		if !ins.IsLoadFromMap() || ins.Reference() != shared || ins.Src != asm.PseudoMapValue {
			continue
		}
		at := uint32(uint64(ins.Constant) >> 32)
		name, inside, ok := variableAt(from, at)
		if !ok {
			return fmt.Errorf("no variable at %d of %s", at, shared)
		}
		v := to.Variables[name]
		if v == nil || v.SectionName != shared || len(v.Value) != len(from.Variables[name].Value) && name != slotsVariable {
			return fmt.Errorf("the other object has no such variable %s", name)
		}
		ins.Constant = int64(uint64(v.Offset+inside)<<32 | uint64(uint32(ins.Constant)))
	}
	return nil
}

// variableAt finds the variable that an address lies in, and where in it.
func variableAt(spec *ebpf.CollectionSpec, at uint32) (name string, inside uint32, ok bool) {
	for name, v := range spec.Variables {
		if v.SectionName == shared && at >= v.Offset && at-v.Offset < uint32(len(v.Value)) {
			return name, at - v.Offset, true
		}
	}
	return "", 0, false
}
