package tracer_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// tryHooks tries them in a world of its own, and holds that nothing stays.
func tryHooks(t *testing.T, cfg tracer.Config) map[string]tracer.Tryout {
	t.Helper()
	world, err := lab.New(testContext(t), lab.Config{Rules: lab.RulesNone})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	files := openFiles(t)
	cfg.Host = world.Host.NS
	tried, err := tracer.TryHooks(cfg, spec(world.Container("nginx")))
	if err != nil {
		t.Fatal(err)
	}
	if ids := held(t); ids.total() > 0 {
		t.Errorf("still held: %+v", ids)
	}
	if now := openFiles(t); now != files {
		t.Errorf("%d open files, %d before", now, files)
	}
	byName := map[string]tracer.Tryout{}
	for _, one := range tried {
		byName[one.Hook] = one
	}
	if len(byName) != len(tried) {
		t.Errorf("%d hooks, %d names", len(tried), len(byName))
	}
	return byName
}

// Each row of the table works here by some provider that the row names, and
// nothing stays. One may be missing where the kernel has none of these, asked in
// another way, and the row says what each of them said.
func TestTryHooks(t *testing.T) {
	byName := tryHooks(t, tracer.Config{})
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"host/forward/tables"} // of borders between chains, which are no rows
	for _, h := range tracer.Hooks() {
		names = append(names, h.Name())
	}
	for _, name := range names {
		one, ok := byName[name]
		if !ok || len(one.Tried) == 0 {
			t.Errorf("%s was not tried", name)
			continue
		}
		for i, tried := range one.Tried {
			works := tried.Provider == one.Provider && i == len(one.Tried)-1
			if works != (tried.Err == nil) || !works && offers(t, kernel, one.Spec, tried.Provider) {
				t.Errorf("%s: gets %q, by %s: %v", name, one.Provider, tried.Provider, tried.Err)
			}
		}
	}
}

// offers tells whether the kernel has what a provider needs for a row.
func offers(t *testing.T, kernel *btf.Spec, h tracer.HookSpec, by tracer.Provider) bool {
	t.Helper()
	has := func(name string, into any) bool { return kernel.TypeByName(name, into) == nil }
	// what programs of the first providers call, Linux 6.2
	var cast *btf.Func
	modern := has("bpf_rdonly_cast", &cast)
	switch by {
	case tracer.ProviderTCX:
		var entry *btf.Struct
		return modern && has("tcx_entry", &entry)
	case tracer.ProviderNetfilter:
		return modern && features.HaveProgramType(ebpf.Netfilter) == nil
	case tracer.ProviderTracepoint, tracer.ProviderRawTracepoint:
		spec, err := bpf.LoadKernel()
		if err != nil {
			t.Fatal(err)
		}
		var tracepoint *btf.Typedef
		there := has("btf_trace_"+spec.Programs[h.Program].AttachTo, &tracepoint)
		if by == tracer.ProviderTracepoint {
			return modern && there
		}
		return there
	}
	return true
}

// A program that the verifier rejects takes the hooks that need it with it, and
// no others; a null hop is not attached without its stamp. Where there is another
// provider, that one takes them.
func TestTryHooksTellsWhatFails(t *testing.T) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	cfg := tracer.Config{Refuse: []tracer.Provider{tracer.ProviderClsact, tracer.ProviderRawTracepoint}}
	byName := tryHooks(t, cfg)
	lacking := untaken(byName) // an old kernel has nothing of what is left for these
	for _, name := range lacking {
		if h := byName[name].Spec; offers(t, kernel, h, h.Provider) {
			t.Errorf("%s does not work: %v", name, byName[name].Err())
		}
	}
	cfg = cfg.WithObject(func() (*ebpf.CollectionSpec, error) {
		o, err := bpf.LoadKernel()
		if err == nil {
			broken := o.Programs["vt_device_egress"]
			broken.Instructions = asm.Instructions{asm.LoadMem(asm.R0, asm.R9, 0, asm.Word), asm.Return()}
			delete(o.Programs, "vt_netif_rx")
		}
		return o, err
	})
	byName = tryHooks(t, cfg)
	want := append([]string{"device/egress", "device/egress/null", "netif_rx"}, lacking...)
	slices.Sort(want)
	if failed := untaken(byName); !slices.Equal(failed, slices.Compact(want)) {
		t.Fatalf("%v do not work, want %v", failed, slices.Compact(want))
	}
	err = byName["device/egress"].Err()
	var verifier *ebpf.VerifierError
	if !errors.As(err, &verifier) {
		t.Errorf("device/egress: %v", err)
	}
	null := "device/egress/null"
	if err := byName[null].Err(); !slices.Contains(lacking, null) && !strings.Contains(err.Error(), "behind vt_device_egress") {
		t.Errorf("its null hop: %v", err)
	}
	cfg.Refuse = nil
	others := tracer.ProviderTCX // of what is not broken
	if h := byName["device/ingress"].Spec; !offers(t, kernel, h, others) {
		others = tracer.ProviderClsact
	}
	byName = tryHooks(t, cfg)
	for name, want := range map[string]tracer.Provider{
		"device/egress": tracer.ProviderClsact, "device/egress/null": tracer.ProviderClsact, "netif_rx": tracer.ProviderRawTracepoint,
		"device/ingress": others,
	} {
		if one := byName[name]; one.Provider != want || len(one.Tried) == 0 || one.Tried[0].Err == nil && want != tracer.ProviderTCX {
			t.Errorf("%s: by %q, tried %+v", name, one.Provider, one.Tried)
		}
	}
}

// untaken are the hooks that no provider takes, in order.
func untaken(byName map[string]tracer.Tryout) (names []string) {
	for name, one := range byName {
		if one.Provider == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Each provider of functions is tried, whatever the others say; what works here
// is what the kernel can, and nothing stays.
func TestTryFunctions(t *testing.T) {
	world, err := lab.New(testContext(t), lab.Config{Rules: lab.RulesNone})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	files := openFiles(t)
	tried, err := tracer.TryFunctions(tracer.Config{Host: world.Host.NS})
	if err != nil {
		t.Fatal(err)
	}
	if ids := held(t); ids.total() > 0 {
		t.Errorf("still held: %+v", ids)
	}
	if now := openFiles(t); now != files {
		t.Errorf("%d open files, %d before", now, files)
	}
	var names []tracer.Provider
	for _, one := range tried {
		names = append(names, one.Provider)
		if works := one.Err == nil; works != canProbe(one.Provider) {
			t.Errorf("%s: %v, but that this kernel can is %v", one.Provider, one.Err, !works)
		}
		var unsupported *tracer.UnsupportedError
		if one.Err != nil && (!errors.As(one.Err, &unsupported) || unsupported.Needs == "" || strings.Contains(one.Err.Error(), "\n")) {
			t.Errorf("%s: %v", one.Provider, one.Err)
		}
	}
	if want := []tracer.Provider{tracer.ProviderSession, tracer.ProviderTracing, tracer.ProviderMulti, tracer.ProviderKprobe}; !slices.Equal(names, want) {
		t.Errorf("tried %v", names)
	}
}
