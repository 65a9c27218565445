package tracer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/function"
)

// The providers of functions, in the order in which they are tried.
const (
	ProviderSession Provider = "kprobe.session" // entries and returns, one link for all, since Linux 6.10
	ProviderTracing Provider = "fentry"         // entries and returns, two links each, since Linux 5.5
	ProviderMulti   Provider = "kprobe.multi"   // entries, one link for all, since Linux 5.18
	ProviderKprobe  Provider = "kprobe"         // entries, a link each
)

// functionProvider is one way to be called when a packet enters a function.
type functionProvider struct {
	name    Provider
	returns bool   // tells also of returns
	program string // that is attached at entries
	needs   string
	attach  func(*functions) error
}

func functionProviders() []functionProvider {
	return []functionProvider{
		{ProviderSession, true, "vt_call_session", "CONFIG_FPROBE (Linux 6.10)", (*functions).attachSession},
		{ProviderTracing, true, "vt_call_enter", "BPF trampolines (Linux 5.5)", (*functions).attachTracing},
		{ProviderMulti, false, "vt_call_multi", "CONFIG_FPROBE (Linux 5.18)", (*functions).attachMulti},
		{ProviderKprobe, false, "vt_call_kprobe", "CONFIG_KPROBES", (*functions).attachKprobes},
	}
}

// functions are those of the kernel that are probed. A nil one probes none.
type functions struct {
	probes   []function.Probe
	names    map[uint8]string // by number of a call
	missing  []string         // of detail functions, that this kernel lacks
	by       Provider
	refused  []string // what providers before that one said
	types    *btf.Cache
	main     functionObject
	fallback func() (*fallback, error) // takes the place of main where that cannot be loaded
	object   functionObject            // that is being tried, or has worked
	loaded   []*ebpf.Program
	links    []link.Link
	attached *tally
	told     func(doing string, done, total int)
}

// functionObject has programs that are attached to functions.
type functionObject struct {
	programs map[string]*ebpf.ProgramSpec
	load     func(*ebpf.ProgramSpec) (*ebpf.Program, error)
}

// notLoadedError is of a program that the kernel does not load: another object's may do.
type notLoadedError struct{ err error }

// Error says what the kernel said.
func (e *notLoadedError) Error() string { return e.err.Error() }

// Unwrap returns that.
func (e *notLoadedError) Unwrap() error { return e.err }

// wantsFunctions tells whether functions of the kernel are to be probed.
func (c Config) wantsFunctions() bool { return c.functions || len(c.Probes) > 0 }

// findFunctions finds out which functions to probe in this kernel. It fails with
// a function.UnknownError or function.NoProbeError for one that was asked for.
func findFunctions(cfg Config) (*functions, error) {
	if !cfg.wantsFunctions() {
		return nil, nil //nolint:nilnil // none is no error
	}
	symbols, err := function.Read()
	if err != nil {
		return nil, err
	}
	// not the cache that programs are loaded with meanwhile: types of a module read
	// those of the kernel without the lock that guards these (cilium/ebpf v0.22)
	types := btf.NewCache()
	probes, missing, err := function.Resolve(symbols, moduleTypes{types}, cfg.functions, cfg.Probes)
	if err != nil {
		return nil, err
	}
	if len(probes) == 0 {
		return nil, &UnsupportedError{
			Feature: "probe functions of the kernel", Needs: "its symbols and types (CONFIG_KALLSYMS, CONFIG_DEBUG_INFO_BTF)", Err: errors.ErrUnsupported,
		}
	}
	return &functions{probes: probes, names: function.Names(probes), missing: missing, types: types, told: cfg.FunctionProgress}, nil
}

// moduleTypes are the types of the kernel and of its modules.
type moduleTypes struct{ cache *btf.Cache }

// Module implements function.Types.
func (m moduleTypes) Module(name string) (*btf.Spec, error) {
	if name == "" {
		return m.cache.Kernel()
	}
	return m.cache.Module(name)
}

// probe attaches to functions, before anything else: whether that is possible is not known before.
func (t *Tracer) probe() error {
	if t.functions == nil {
		return nil
	}
	t.functions.attached, t.functions.fallback = t.attached, t.choice.fallback
	if err := t.functions.attach(t.cfg.FunctionsBy); err != nil {
		return err
	}
	if note := t.functions.note(); note != "" {
		t.notes = append(t.notes, note)
	}
	t.cfg.Log.Debug("functions are probed", "by", t.functions.by, "functions", len(t.functions.probes), "missing", t.functions.missing, "refused", t.functions.refused)
	return nil
}

// isFunctionProgram tells programs that are attached to functions, as many
// times as there are functions, from those of the table of hooks.
func isFunctionProgram(name string) bool { return strings.HasPrefix(name, "vt_call_") }

// attach attaches to all functions by the first provider that works; only is
// the one to try, "" any. It fails with an UnsupportedError that says what each
// of them said.
func (f *functions) attach(only Provider) error {
	if f == nil {
		return nil
	}
	for _, provider := range functionProviders() {
		if only != "" && provider.name != only {
			continue
		}
		err := f.try(provider)
		if err == nil {
			return nil
		}
		f.refused = append(f.refused, fmt.Sprintf("%s: %v", provider.name, refusal(err)))
		if err := f.close(); err != nil {
			return err
		}
	}
	return &UnsupportedError{
		Feature: "probe functions of the kernel",
		Needs:   "CONFIG_FPROBE (kprobe.session since Linux 6.10, kprobe.multi since 5.18), BPF trampolines (fentry) or CONFIG_KPROBES",
		Err:     errors.New(strings.Join(f.refused, "; ")),
	}
}

// try attaches by a provider, with the fallback's programs where those of the
// main object cannot be loaded.
func (f *functions) try(provider functionProvider) error {
	f.by, f.object = provider.name, f.main
	probes := f.probes
	err := provider.attach(f)
	var notLoaded *notLoadedError
	if err == nil || !errors.As(err, &notLoaded) {
		return err
	}
	object, other := f.fallback()
	if other != nil {
		return errors.Join(err, other)
	}
	programs := functionPrograms(object.spec)
	if programs[provider.program] == nil {
		return err
	}
	if other := f.close(); other != nil {
		return errors.Join(err, other)
	}
	f.probes = probes
	f.object = functionObject{programs, func(spec *ebpf.ProgramSpec) (*ebpf.Program, error) { return object.loadSpec(spec, f.types) }}
	return provider.attach(f)
}

// refusal is what a kernel that lacks a provider says, in few words. The
// library's own name versions, which others have without what it needs.
func refusal(err error) string {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return "not in this kernel"
	case errors.Is(err, unix.EPERM):
		return "operation not permitted"
	}
	line, _, _ := strings.Cut(err.Error(), "\n") // without the verifier's log
	return line
}

func (f *functions) program(name string) (*ebpf.ProgramSpec, error) {
	spec := f.object.programs[name]
	if spec == nil {
		return nil, fmt.Errorf("no program %s", name)
	}
	return spec.Copy(), nil
}

// start loads a program that is kept until close.
func (f *functions) start(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	program, err := f.object.load(spec)
	if err != nil {
		return nil, &notLoadedError{err}
	}
	f.loaded = append(f.loaded, program)
	return program, nil
}

func (f *functions) attachSession() error { return f.attachMany("vt_call_session", true) }
func (f *functions) attachMulti() error   { return f.attachMany("vt_call_multi", false) }

// attachMany attaches one program to all functions by one link.
func (f *functions) attachMany(name string, session bool) error {
	f.probes = f.entries(session)
	spec, err := f.program(name)
	if err != nil {
		return err
	}
	program, err := f.start(spec)
	if err != nil {
		return err
	}
	opts := link.KprobeMultiOptions{Session: session}
	named := slices.ContainsFunc(f.probes, func(p function.Probe) bool { return p.Symbol.Address == 0 })
	for _, p := range f.probes {
		if opts.Cookies = append(opts.Cookies, p.Cookie()); named {
			opts.Symbols = append(opts.Symbols, p.Name)
		} else {
			opts.Addresses = append(opts.Addresses, uintptr(p.Symbol.Address))
		}
	}
	l, err := link.KprobeMulti(program, opts)
	if err != nil {
		return fmt.Errorf("attach to %d functions: %w", len(f.probes), err)
	}
	f.links = append(f.links, f.attached.hold(HookSpec{Program: "functions", Provider: f.by}, l))
	return nil
}

// entries are the functions that can be probed by their entries alone: without
// returns it is not known when a softirq has ended.
func (f *functions) entries(returns bool) []function.Probe {
	if returns {
		return f.probes
	}
	return slices.DeleteFunc(slices.Clone(f.probes), func(p function.Probe) bool { return p.Spec.Poll })
}

// attachTracing attaches a program of its own to each function and its return.
func (f *functions) attachTracing() error {
	for i, p := range f.probes {
		if err := f.trace("vt_call_enter", p); err != nil {
			return err
		}
		if p.Spec.Returns || p.Spec.Poll {
			if err := f.trace("vt_call_leave", p); err != nil {
				return err
			}
		}
		f.tell("attaching", i+1, len(f.probes))
	}
	return nil
}

func (f *functions) trace(name string, p function.Probe) error {
	spec, err := f.program(name)
	if err != nil {
		return err
	}
	spec.AttachTo = p.Name
	program, err := f.start(spec)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: program, AttachType: spec.AttachType, Cookie: p.Cookie()})
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	f.links = append(f.links, f.attached.hold(HookSpec{Program: "functions", Provider: f.by}, l))
	return nil
}

// kprobeEvents is there where the kernel has kprobes.
const kprobeEvents = "/sys/bus/event_source/devices/kprobe"

// attachKprobes attaches one program to each function.
func (f *functions) attachKprobes() error {
	if _, err := os.Stat(kprobeEvents); err != nil {
		return fmt.Errorf("no kprobes: %w", ebpf.ErrNotSupported)
	}
	f.probes = f.entries(false)
	spec, err := f.program("vt_call_kprobe")
	if err != nil {
		return err
	}
	program, err := f.start(spec)
	if err != nil {
		return err
	}
	for i, p := range f.probes {
		l, err := link.Kprobe(p.Name, program, &link.KprobeOptions{Cookie: p.Cookie()})
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		f.links = append(f.links, f.attached.hold(HookSpec{Program: "functions", Provider: f.by}, l))
		f.tell("attaching", i+1, len(f.probes))
	}
	return nil
}

func (f *functions) tell(doing string, done, total int) {
	if f.told != nil {
		f.told(doing, done, total)
	}
}

// note says what a reader of the figures must know; "" where there is nothing.
func (f *functions) note() string {
	if f == nil || slices.ContainsFunc(functionProviders(), func(p functionProvider) bool { return p.name == f.by && p.returns }) {
		return ""
	}
	return fmt.Sprintf("functions are probed by %s, which does not tell of returns: each one's time runs to the next function or the end of the hop", f.by)
}

// close detaches from all functions, and says how far it is: on some kernels
// each link waits for a seventh of a second.
func (f *functions) close() error {
	if f == nil {
		return nil
	}
	var errs []error
	for i, l := range f.links {
		errs = append(errs, l.Close())
		f.tell("detaching from", i+1, len(f.links))
	}
	for _, program := range f.loaded {
		errs = append(errs, program.Close())
	}
	f.links, f.loaded = nil, nil
	return errors.Join(errs...)
}
