package tracer

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
)

// fallback is the object for kernels that lack what the main one needs. Its
// programs are loaded when a hook comes down to them, with the maps and variables
// of the main one: several at once, as the verifier is what a user waits for.
type fallback struct {
	spec   *ebpf.CollectionSpec
	shared map[string]*ebpf.Map // the main object's, and its own
	own    *ebpf.Collection     // what it does not share: its configuration
	types  *btf.Cache

	mu          sync.Mutex
	loads       map[string]*fallbackLoad
	loaded      []*ebpf.Program
	early       sync.WaitGroup // loads that nobody waits for yet
	trampolines trampolines
}

// fallbackLoad is a program that is loaded once.
type fallbackLoad struct {
	once    sync.Once
	program *ebpf.Program
	err     error
}

// newFallback makes its maps. main has been configured, and its maps have their
// sizes; first and last say which borders of netfilter are wanted.
func newFallback(main *ebpf.CollectionSpec, shared map[string]*ebpf.Map, types *btf.Cache, first, last uint32) (*fallback, error) {
	spec, err := bpf.LoadFallbackFor(main)
	if err != nil {
		return nil, fmt.Errorf("read the fallback BPF object: %w", err)
	}
	for name := range spec.Maps {
		if shared[name] != nil && main.Maps[name] != nil && !isConstant(name) {
			spec.Maps[name] = main.Maps[name].Copy()
		}
	}
	for name, v := range main.Variables {
		if isConstant(v.SectionName) && spec.Variables[name] != nil {
			spec.Variables[name].Value = v.Value
		}
	}
	if err := errors.Join(spec.Variables["cfg_netfilter_first"].Set(first), spec.Variables["cfg_netfilter_last"].Set(last)); err != nil {
		return nil, fmt.Errorf("configure the fallback BPF object: %w", err)
	}
	if err := freeze(spec); err != nil {
		return nil, err
	}
	f := &fallback{spec: spec, shared: maps.Clone(shared), types: types, loads: map[string]*fallbackLoad{}}
	f.spec.Variables = nil
	bare := spec.Copy()
	bare.Programs = nil
	for name := range f.shared {
		if isConstant(name) {
			delete(f.shared, name)
		}
	}
	for name := range bare.Maps {
		if f.shared[name] != nil {
			delete(bare.Maps, name)
		}
	}
	if f.own, err = ebpf.NewCollection(bare); err != nil {
		return nil, loadError(err)
	}
	maps.Copy(f.shared, f.own.Maps)
	return f, nil
}

// isConstant tells whether a section is one that each object has for itself.
func isConstant(section string) bool { return section == ".rodata" }

// program loads one, once.
func (f *fallback) program(name string) (*ebpf.Program, error) {
	f.mu.Lock()
	one := f.loads[name]
	if one == nil {
		one = &fallbackLoad{}
		f.loads[name] = one
	}
	f.mu.Unlock()
	one.once.Do(func() { one.program, one.err = f.load(name) })
	return one.program, one.err
}

// loadEarly begins to load programs that are about to be attached.
func (f *fallback) loadEarly(names []string) {
	next := make(chan string, len(names))
	for _, name := range names {
		next <- name
	}
	close(next)
	for range min(runtime.GOMAXPROCS(0), mostLoaders, len(names)) {
		f.early.Go(func() {
			for name := range next {
				_, _ = f.program(name) // whoever attaches it is told
			}
		})
	}
}

func (f *fallback) load(name string) (*ebpf.Program, error) {
	spec := f.spec.Programs[name]
	if spec == nil {
		return nil, fmt.Errorf("the fallback BPF object has no program %s", name)
	}
	if err := lacks(spec, f.types); err != nil {
		return nil, err
	}
	program, err := f.loadSpec(spec, f.types)
	if err != nil {
		return nil, loadError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded = append(f.loaded, program)
	return program, nil
}

// loadSpec loads a program of the object, or one that was made of it.
func (f *fallback) loadSpec(spec *ebpf.ProgramSpec, types *btf.Cache) (*ebpf.Program, error) {
	part := f.spec.Copy()
	part.Programs = map[string]*ebpf.ProgramSpec{spec.Name: spec}
	coll, err := ebpf.NewCollectionWithOptions(part, collectionOptions(f.shared, types))
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(spec.Name), nil
}

// each gives out the programs that are loaded.
func (f *fallback) each(do func(*ebpf.Program)) {
	f.mu.Lock()
	loaded := slices.Clone(f.loaded)
	f.mu.Unlock()
	for _, program := range loaded {
		do(program)
	}
}

// attach attaches one of its programs for the whole machine.
func (f *fallback) attach(name string) (link.Link, error) {
	program, err := f.program(name)
	if err != nil {
		return nil, err
	}
	if program.Type() == ebpf.RawTracepoint {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: f.spec.Programs[name].AttachTo, Program: program})
	}
	return link.AttachTracing(link.TracingOptions{Program: program})
}

func (f *fallback) close() error {
	f.early.Wait()
	errs := []error{f.trampolines.close()}
	f.each(func(program *ebpf.Program) { errs = append(errs, program.Close()) })
	f.own.Close()
	return errors.Join(errs...)
}

// trampolines are the borders of netfilter by the functions that they lie at:
// all of them, for the whole machine, while somebody needs one.
type trampolines struct {
	mu    sync.Mutex
	users int
	held  []link.Link
}

// trampolinePrograms are attached together: ends, then borders, then starts.
func trampolinePrograms() []string {
	return []string{
		"vt_ip_deliver", "vt_ip6_deliver", "vt_hook_leave",
		"vt_hook_enter", "vt_ip_output", "vt_ip6_output", "vt_ip_mc_output",
	}
}

// take attaches them, if they are not; the link that it returns is one user's.
func (f *fallback) trampoline() (link.Link, error) {
	t := &f.trampolines
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users == 0 {
		for _, name := range trampolinePrograms() {
			l, err := f.attach(name)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("attach %s: %w", name, err), t.detach())
			}
			t.held = append(t.held, l)
		}
	}
	t.users++
	return &counted{gone: sync.OnceFunc(t.leave)}, nil
}

func (t *trampolines) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users == 0 {
		_ = t.detach() // the kernel detaches what is closed
	}
}

func (t *trampolines) detach() error {
	err := closeAll(t.held)
	t.held = nil
	return err
}

func (t *trampolines) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.detach()
}

// edges are the borders of netfilter that rows want, as the fallback object takes them.
func edges(rows []HookSpec) (first, last uint32) {
	for _, h := range rows {
		if h.Provider != ProviderNetfilter {
			continue
		}
		bit := uint32(1) << h.Point
		if h.Scope == ScopeTarget {
			bit <<= 5
		}
		switch {
		case h.isFirst():
			first |= bit
		case h.isLast():
			last |= bit
		}
	}
	return first, last
}

// lastBorder of a hook of netfilter, as in journey.
const lastBorder = journey.LastBorder
