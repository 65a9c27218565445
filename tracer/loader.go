package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// object is what programs and maps are made of.
type object struct {
	spec  *ebpf.CollectionSpec
	types *btf.Cache // the running kernel's
	err   error
}

// readObject reads the object and the kernel's types in the background:
// meanwhile the targets are looked at.
func readObject(load func() (*ebpf.CollectionSpec, error)) func() object {
	var o object
	var wait sync.WaitGroup
	wait.Go(func() {
		o.types = btf.NewCache()
		if o.spec, o.err = load(); o.err != nil {
			o.err = fmt.Errorf("read the BPF object: %w", o.err)
			return
		}
		_, _ = o.types.Kernel() // loading tells what it lacks
	})
	return func() object {
		wait.Wait()
		return o
	}
}

// A loader loads programs on several CPUs: the verifier is what a user waits
// for. Each is given out as soon as it is there, so that attaching, which waits
// for the kernel's grace periods, goes on meanwhile.
type loader struct {
	spec   *ebpf.CollectionSpec
	shared map[string]*ebpf.Map
	types  *btf.Cache
	loaded chan loadedProgram
	left   int // how many are still to come

	mu   sync.Mutex
	next []string
	wait sync.WaitGroup
}

type loadedProgram struct {
	name    string
	program *ebpf.Program
	err     error
}

// quickly is about how many instructions a program has that is verified in less than a millisecond.
const quickly = 500

// mostLoaders bounds how many programs are loaded at once: the longest one takes a fifth of all.
const mostLoaders = 4

func newLoader(o object, wanted map[string]*ebpf.ProgramSpec, shared map[string]*ebpf.Map) *loader {
	l := &loader{
		spec: o.spec, shared: shared, types: o.types, left: len(wanted),
		loaded: make(chan loadedProgram, len(wanted)), // nobody may be there to take them
	}
	l.next = slices.SortedFunc(maps.Keys(wanted), func(a, b string) int { return sooner(wanted[a], wanted[b]) })
	for range min(runtime.GOMAXPROCS(0), mostLoaders) {
		part := o.spec.Copy()
		part.Variables = nil
		l.wait.Go(func() { l.work(part, wanted) })
	}
	return l
}

// sooner orders programs to load. First those of tcx, the shortest first: each
// place they are attached at waits for a grace period of the kernel, in which
// others are verified. Then what is quick; then the longest, which would be
// waited for.
func sooner(a, b *ebpf.ProgramSpec) int {
	rank := func(p *ebpf.ProgramSpec) int {
		switch {
		case p.Type == ebpf.SchedCLS:
			return 0
		case len(p.Instructions) < quickly:
			return 1
		}
		return 2
	}
	if rankA, rankB := rank(a), rank(b); rankA != rankB {
		return cmp.Compare(rankA, rankB)
	}
	bySize := cmp.Compare(len(a.Instructions), len(b.Instructions))
	if rank(a) == 0 {
		return bySize
	}
	return -bySize
}

func (l *loader) work(part *ebpf.CollectionSpec, wanted map[string]*ebpf.ProgramSpec) {
	for name := l.take(); name != ""; name = l.take() {
		if err := lacks(wanted[name], l.types); err != nil {
			l.loaded <- loadedProgram{name: name, err: err}
			continue
		}
		part.Programs = map[string]*ebpf.ProgramSpec{name: wanted[name]}
		coll, err := ebpf.NewCollectionWithOptions(part, collectionOptions(l.shared, l.types))
		if err != nil {
			l.loaded <- loadedProgram{name: name, err: loadError(err)} // the hook comes down to another provider
			continue
		}
		l.loaded <- loadedProgram{name: name, program: coll.DetachProgram(name)}
		coll.Close()
	}
}

// collectionOptions load with these maps and types. Programs are relocated
// against the kernel's own types alone: none is of a module, reading those of
// all modules takes longer than all else, and cilium/ebpf v0.22 reads a module's
// without the lock that guards the kernel's, which several workers share.
func collectionOptions(shared map[string]*ebpf.Map, types *btf.Cache) ebpf.CollectionOptions {
	opts := ebpf.CollectionOptions{MapReplacements: shared, Cache: types}
	if kernel, err := types.Kernel(); err == nil { // else loading tells
		opts.Programs.KernelTypes = kernel
	}
	return opts
}

// lacks tells that the kernel has not a function that a program calls, or the
// place that it is for. Loading it would tell too, after a look at the types of
// all modules, which takes seconds.
func lacks(program *ebpf.ProgramSpec, types *btf.Cache) error {
	if err := lacksCalls(program, types); err != nil {
		return err
	}
	kernel, err := types.Kernel()
	if err != nil {
		return nil //nolint:nilerr // loading tells
	}
	there, what := true, "tracepoint"
	switch program.AttachType {
	case ebpf.AttachTraceRawTp:
		there = has[*btf.Typedef](kernel, "btf_trace_"+program.AttachTo)
	case ebpf.AttachTraceFEntry, ebpf.AttachTraceFExit:
		there, what = has[*btf.Func](kernel, program.AttachTo), "function"
	}
	if !there {
		return lacksError(program, what, program.AttachTo)
	}
	return nil
}

// lacksCalls tells that the kernel has not a function that a program calls.
func lacksCalls(program *ebpf.ProgramSpec, types *btf.Cache) error {
	kernel, err := types.Kernel()
	if err != nil {
		return nil //nolint:nilerr // loading tells
	}
	for i := range program.Instructions {
		if ins := &program.Instructions[i]; ins.IsKfuncCall() && !has[*btf.Func](kernel, ins.Reference()) {
			return lacksError(program, "function", ins.Reference())
		}
	}
	return nil
}

func lacksError(program *ebpf.ProgramSpec, what, name string) error {
	return &UnsupportedError{
		Feature: "load " + program.Name, Needs: "the kernel's " + what + " " + name, Err: fmt.Errorf("%s: %w", name, btf.ErrNotFound),
	}
}

// has tells whether there is a type of that kind and name.
func has[T btf.Type](types *btf.Spec, name string) bool {
	var found T
	return !errors.Is(types.TypeByName(name, &found), btf.ErrNotFound)
}

// functionPrograms are those that are attached to functions of the kernel.
func functionPrograms(spec *ebpf.CollectionSpec) map[string]*ebpf.ProgramSpec {
	programs := map[string]*ebpf.ProgramSpec{}
	for name, program := range spec.Programs {
		if isFunctionProgram(name) {
			programs[name] = program
		}
	}
	return programs
}

// programLoader loads single programs beside the others, with the same maps.
func programLoader(o object, shared map[string]*ebpf.Map, types *btf.Cache) func(*ebpf.ProgramSpec) (*ebpf.Program, error) {
	part := o.spec.Copy()
	part.Variables = nil
	return func(program *ebpf.ProgramSpec) (*ebpf.Program, error) {
		if err := lacksCalls(program, types); err != nil {
			return nil, err
		}
		part.Programs = map[string]*ebpf.ProgramSpec{program.Name: program}
		coll, err := ebpf.NewCollectionWithOptions(part, collectionOptions(shared, types))
		if err != nil {
			return nil, err
		}
		defer coll.Close()
		return coll.DetachProgram(program.Name), nil
	}
}

// take returns the next program to load; "": there is none.
func (l *loader) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.next) == 0 {
		return ""
	}
	name := l.next[0]
	l.next = l.next[1:]
	return name
}

func (l *loader) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = nil
}

// each gives out all programs as they come, or why one could not be loaded.
func (l *loader) each(do func(one loadedProgram) error) error {
	for ; l.left > 0; l.left-- {
		if err := do(<-l.loaded); err != nil {
			return err
		}
	}
	return nil
}

// close ends loading and closes what was not given out.
func (l *loader) close() error {
	l.stop()
	l.wait.Wait()
	close(l.loaded)
	var errs []error
	for one := range l.loaded {
		errs = append(errs, one.program.Close())
	}
	return errors.Join(errs...)
}

// A schedule are attachments that wait for their programs. Before journeys may
// start it does not matter in which order they are done, as no two of them are
// at the same place; null hops are, and come when all others stand.
type schedule struct {
	byProgram map[string][]func() error
	all, done int
	told      func(done, all int) // of each attachment that is done; nil: nobody wants to know
}

func newSchedule() *schedule {
	return &schedule{byProgram: map[string][]func() error{}}
}

func (s *schedule) add(program string, attach func() error) {
	s.byProgram[program] = append(s.byProgram[program], attach)
	s.all++
}

// run attaches each program as soon as it is loaded, null programs last: of two
// tracepoint programs, or two of tcx, the one that was attached first runs first.
// failed is told of those that cannot be loaded; what they were for is attached
// by other providers, or not at all, when all others stand: meanwhile these load theirs.
func (s *schedule) run(k *kernel, failed func(name string, err error)) error {
	err := k.loader.each(func(one loadedProgram) error {
		if one.err != nil {
			failed(one.name, one.err)
		} else {
			k.programs[one.name] = one.program
		}
		if one.err != nil || strings.HasPrefix(one.name, nullPrefix) {
			return nil //nolint:nilerr // it was told
		}
		return s.attach(one.name)
	})
	// of a null program and its copies, each lies behind the one before
	left := slices.SortedFunc(maps.Keys(s.byProgram), func(a, b string) int {
		null := func(name string) int { return len(name) * bit(strings.HasPrefix(name, nullPrefix)) }
		return cmp.Or(null(a)-null(b), strings.Compare(a, b))
	})
	for _, name := range left {
		if err == nil {
			err = s.attach(name)
		}
	}
	return err
}

func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}

// progress turns attachments that are done into targets, for those who look on.
func (t *Tracer) progress(targets int) func(done, all int) {
	if t.cfg.Progress == nil {
		return nil
	}
	last := 0
	return func(done, all int) {
		if now := targets * done / all; now > last {
			last = now
			t.cfg.Progress(now, targets)
		}
	}
}

// nullPrefix begins the names of null programs.
const nullPrefix = "vt_null_"

// attach does what waits for a program, once.
func (s *schedule) attach(name string) error {
	waiting := s.byProgram[name]
	delete(s.byProgram, name)
	for _, attach := range waiting {
		if err := attach(); err != nil {
			return err
		}
		if s.done++; s.told != nil {
			s.told(s.done, s.all)
		}
	}
	return nil
}
