package bpf_test

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/vethtrace/vethtrace/bpf"
)

// The fallback object has all variables and maps of the main one, which it
// shares or which Go sets, and finds them where that one has them.
func TestFallbackSharesTheVariables(t *testing.T) {
	kernel, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	own, err := bpf.LoadFallback()
	if err != nil {
		t.Fatal(err)
	}
	fallback, err := bpf.LoadFallbackFor(kernel)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range kernel.Variables {
		got := fallback.Variables[name]
		if got == nil || got.SectionName != want.SectionName || len(got.Value) != len(want.Value) {
			t.Errorf("%s: %+v, want one like %+v", name, got, want)
		}
	}
	for name, want := range kernel.Maps {
		got := fallback.Maps[name]
		if got == nil || got.Type != want.Type || got.KeySize != want.KeySize ||
			name != ".rodata" && got.ValueSize != want.ValueSize {
			t.Errorf("map %s: %v, want %v", name, got, want)
		}
	}
	uses := 0
	for name, program := range fallback.Programs {
		before := own.Programs[name].Instructions
		for i, ins := range program.Instructions {
			if ins.Reference() != ".bss" {
				continue
			}
			was, is := variableAt(own, before[i].Constant), variableAt(kernel, ins.Constant)
			if was == "" || was != is {
				t.Errorf("%s: instruction %d is of %q, and was of %q", name, i, is, was)
			}
			uses++
		}
	}
	if uses < 100 {
		t.Errorf("%d uses of variables", uses)
	}
}

// variableAt names the variable that an instruction's constant leads into.
func variableAt(spec *ebpf.CollectionSpec, constant int64) string {
	at := uint32(uint64(constant) >> 32)
	for name, v := range spec.Variables {
		if v.SectionName == ".bss" && at >= v.Offset && at < v.Offset+uint32(len(v.Value)) {
			return name
		}
	}
	return ""
}

// Every program of the fallback object but trampolines, which not every kernel
// allows, passes the verifier of the running kernel, far from its limit: with the
// main object's variables, and with those of kernels where these must be small.
func TestLoadFallback(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	for name, shrink := range map[string]func(*ebpf.CollectionSpec) error{
		"as large": func(*ebpf.CollectionSpec) error { return nil },
		"small":    bpf.Shrink,
	} {
		t.Run(name, func(t *testing.T) {
			kernel, err := bpf.LoadKernel()
			if err != nil {
				t.Fatal(err)
			}
			if err := shrink(kernel); err != nil {
				t.Fatal(err)
			}
			loadFallback(t, kernel)
		})
	}
}

func loadFallback(t *testing.T, kernel *ebpf.CollectionSpec) {
	spec, err := bpf.LoadFallbackFor(kernel)
	if err != nil {
		t.Fatal(err)
	}
	spec.Variables["cfg_set_mask"].Value = kernel.Variables["cfg_set_mask"].Value
	for _, name := range []string{"cfg_netfilter_first", "cfg_netfilter_last"} { // all that trampolines may be asked for
		if err := spec.Variables[name].Set(uint32(1<<10 - 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := spec.Variables["cfg_host_mode"].Set(true); err != nil {
		t.Fatal(err)
	}
	for name, v := range spec.Variables {
		if v.SectionName == ".bss" { // as the main object has them
			delete(spec.Variables, name)
		}
	}
	programs := spec.Programs
	spec.Programs = nil
	shared, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	types := btf.NewCache()
	for name, program := range programs {
		one := spec.Copy()
		one.Variables, one.Programs = nil, map[string]*ebpf.ProgramSpec{name: program}
		coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: shared.Maps, Cache: types})
		var verifier *ebpf.VerifierError
		switch {
		case program.Type == ebpf.Kprobe && errors.Is(err, ebpf.ErrNotSupported): // of functions, which not every kernel lets be probed
			t.Logf("%s: %v", name, err)
		case errors.As(err, &verifier):
			t.Errorf("%s: %+v", name, verifier)
		case program.Type == ebpf.Tracing && err != nil:
			t.Logf("%s: %v", name, err)
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			verified(t, name, coll.Programs[name])
			coll.Close()
		}
	}
}
