package tracer_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

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

// Each row of the table works here, by some provider, and nothing stays.
func TestTryHooks(t *testing.T) {
	byName := tryHooks(t, tracer.Config{})
	for _, h := range tracer.Hooks() {
		one, ok := byName[h.Name()]
		if !ok {
			t.Errorf("%s was not tried", h.Name())
			continue
		}
		if one.Provider == "" || one.Err() != nil || len(one.Tried) == 0 || one.Tried[len(one.Tried)-1].Provider != one.Provider {
			t.Errorf("%s: %+v", h.Name(), one)
		}
	}
	if one := byName["host/forward/tables"]; one.Provider == "" {
		t.Errorf("borders between chains: %+v", one)
	}
}

// A program that the verifier rejects takes the hooks that need it with it, and
// no others; a null hop is not attached without its stamp. Where there is another
// provider, that one takes them.
func TestTryHooksTellsWhatFails(t *testing.T) {
	cfg := tracer.Config{Refuse: []tracer.Provider{tracer.ProviderClsact, tracer.ProviderRawTracepoint}}.WithObject(func() (*ebpf.CollectionSpec, error) {
		o, err := bpf.LoadKernel()
		if err == nil {
			broken := o.Programs["vt_device_egress"]
			broken.Instructions = asm.Instructions{asm.LoadMem(asm.R0, asm.R9, 0, asm.Word), asm.Return()}
			delete(o.Programs, "vt_netif_rx")
		}
		return o, err
	})
	byName := tryHooks(t, cfg)
	var failed []string
	for name, one := range byName {
		if one.Provider == "" {
			failed = append(failed, name)
		}
	}
	slices.Sort(failed)
	if want := []string{"device/egress", "device/egress/null", "netif_rx"}; !slices.Equal(failed, want) {
		t.Fatalf("%v do not work, want %v", failed, want)
	}
	err := byName["device/egress"].Err()
	var verifier *ebpf.VerifierError
	if !errors.As(err, &verifier) {
		t.Errorf("device/egress: %v", err)
	}
	if err := byName["device/egress/null"].Err(); !strings.Contains(err.Error(), "behind vt_device_egress") {
		t.Errorf("its null hop: %v", err)
	}
	cfg.Refuse = nil
	byName = tryHooks(t, cfg)
	for name, want := range map[string]tracer.Provider{
		"device/egress": tracer.ProviderClsact, "device/egress/null": tracer.ProviderClsact, "netif_rx": tracer.ProviderRawTracepoint,
		"device/ingress": tracer.ProviderTCX,
	} {
		if one := byName[name]; one.Provider != want || len(one.Tried) == 0 || one.Tried[0].Err == nil && want != tracer.ProviderTCX {
			t.Errorf("%s: by %q, tried %+v", name, one.Provider, one.Tried)
		}
	}
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
