package tracer

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// A null hop of tcx lies right behind its stamp, although somebody else has
// attached a program there since.
func TestNullHopIsRightBehind(t *testing.T) {
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	device := 0
	err = ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			device = lo.Attrs().Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	a := attacher{ns: ns, programs: map[string]*ebpf.Program{}}
	names := map[ebpf.ProgramID]string{}
	for _, name := range []string{"stamp", "foreign", "null"} {
		a.programs[name] = newClassifier(t)
		info, err := a.programs[name].Info()
		if err != nil {
			t.Fatal(err)
		}
		id, ok := info.ID()
		if !ok {
			t.Fatal("the kernel tells no program's id")
		}
		names[id] = name
	}
	var held links
	t.Cleanup(func() { held.close() })
	for _, h := range []HookSpec{
		tcx("stamp", ScopeDevice, true, "", ""), tcx("foreign", ScopeDevice, true, "", ""),
		behind("stamp", tcx("null", ScopeDevice, true, "", "")),
	} {
		if err := a.device(&held, h, device); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	err = ns.Do(func() error {
		result, err := link.QueryPrograms(link.QueryOptions{Target: device, Attach: ebpf.AttachTCXEgress})
		if err == nil {
			for _, p := range result.Programs {
				order = append(order, names[p.ID])
			}
		}
		return err
	})
	if want := []string{"stamp", "null", "foreign"}; err != nil || !slices.Equal(order, want) {
		t.Errorf("attached are %v, %v, want %v", order, err, want)
	}
}

func newClassifier(t *testing.T) *ebpf.Program {
	t.Helper()
	const next = -1 // TCX_NEXT
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, next), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}
