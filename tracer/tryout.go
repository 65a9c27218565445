package tracer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Attempted is a provider that was tried for a hook.
type Attempted struct {
	Provider Provider
	Err      error // nil: it works
}

// Tryout is what became of a row of THE table of hooks when it was tried.
type Tryout struct {
	Spec     HookSpec
	Hook     string      // HookSpec.Name
	Provider Provider    // that it gets; "": none works, and Tried says why
	Tried    []Attempted // in the order of preference, up to the one that works
}

// Err joins why no provider works; nil where one does.
func (t Tryout) Err() error {
	if t.Provider != "" {
		return nil
	}
	var errs []error
	for _, a := range t.Tried {
		errs = append(errs, a.Err)
	}
	return errors.Join(errs...)
}

// TryHooks loads and attaches every hook of the table, of all details and
// duties, detaches them all, and tells of each what became of it: one that does
// not work does not keep the others from being tried. The gate stays closed, so
// that no journey starts. spec is a target with a device of its own that leads
// to a bridge of cfg.Host, which has an uplink; give it a world that may be
// thrown away. What keeps all hooks from being tried is an error.
func TryHooks(cfg Config, spec TargetSpec) (tried []Tryout, err error) {
	cfg = cfg.withDefaults()
	trial := &trial{links: &links{}, byProgram: map[string]error{}}
	if err := trial.look(cfg, spec); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, trial.close()) }()
	if err := trial.load(cfg); err != nil {
		return nil, err
	}
	at := map[string]int{}
	for _, h := range trial.rows() {
		one := trial.try(h)
		if i, merged := at[one.Hook]; merged { // borders of the same chain: the first one that fails speaks for all
			if tried[i].Provider != "" && one.Provider == "" {
				tried[i] = one
			}
			continue
		}
		at[one.Hook] = len(tried)
		tried = append(tried, one)
	}
	return tried, nil
}

// trial is a try of all hooks. It keeps what is attached until all are tried:
// a null hop goes behind its stamp.
type trial struct {
	object    object
	specs     map[string]*ebpf.ProgramSpec
	kernel    *kernel
	host      attacher
	target    *target
	uplink    int // by index, of the host
	links     *links
	byProgram map[string]error // why it could not be loaded
}

// look finds where hooks are attached.
func (t *trial) look(cfg Config, spec TargetSpec) error {
	view, err := topology.Read(cfg.Host)
	if err != nil {
		return fmt.Errorf("read the host's devices: %w", err)
	}
	if t.target, err = newTarget(cfg.Host, view, spec); err != nil {
		return err
	}
	uplinks := topology.Uplinks(view, t.target.tracedLinks()...)
	if len(uplinks) == 0 || len(t.target.interfaces) == 0 {
		return closing(t.target.ns, errors.New("try the hooks: the host has no uplink, or the target no device"))
	}
	t.uplink = uplinks[0].Index
	t.host = attacher{ns: cfg.Host, programs: map[string]*ebpf.Program{}}
	return nil
}

// load makes the maps, as for a run that needs everything.
func (t *trial) load(cfg Config) error {
	t.object = readObject(cfg.object)()
	if t.object.err != nil {
		return t.object.err
	}
	t.specs = t.object.spec.Copy().Programs
	var err error
	by := newChoice(cfg)
	t.kernel, err = load(t.object, cfg, facts{
		hostNetns: cfg.Host.Inode(), queue: true, hostMode: true, bridge: true, sockets: true,
		napi: true, splits: true, switchable: true, programs: map[string]bool{}, // loaded one by one
	}, nil, by)
	if err != nil {
		return err
	}
	by.fallback = t.kernel.fallbackFor(edges(Hooks()))
	t.host.choice, t.host.clsact = by, newClsact()
	return nil
}

// rows are the table's, and the borders between chains that detail tables has.
func (t *trial) rows() []HookSpec {
	rows := Hooks()
	for border := 1; border < journey.LastBorder; border++ {
		rows = append(rows, nf(borderProgram(border), ScopeHost, journey.Forward, border, []Detail{DetailTables}, "border", "the chains of a hook of netfilter"))
	}
	return rows
}

// try attaches a hook by each of its providers, until one works.
func (t *trial) try(h HookSpec) Tryout {
	by := t.host.choice
	one := Tryout{Spec: h, Hook: h.Name()}
	if now, ok := by.now(h); ok && !now.fallback {
		if err := t.loaded(h.Program); err != nil {
			by.next(h, now, err)
		}
	}
	err := t.attach(h)
	by.mu.Lock()
	defer by.mu.Unlock()
	state := by.of(h)
	one.Tried = slices.Clone(state.tried)
	if len(state.candidates) == 0 {
		return one
	}
	one.Tried = append(one.Tried, Attempted{Provider: state.candidates[0].provider, Err: err})
	if err == nil {
		one.Provider = state.candidates[0].provider
	}
	return one
}

func (t *trial) attach(h HookSpec) error {
	switch h.Provider {
	case ProviderTCX:
		return t.device(h)
	case ProviderNetfilter:
		priority := priorityOf(h)
		if h.Border > 0 && h.Border < journey.LastBorder && !h.isNull() {
			priority = h.Border // the chains' own are not known here, and do not matter
		}
		return t.in(h.Scope == ScopeTarget).netfilter(t.links, h, priority)
	case ProviderIterator:
		return t.host.take(h, func(_ candidate, program *ebpf.Program) error { return walkSockets(program) })
	}
	return t.host.tracepoint(t.links, h)
}

// in is an attacher for the host's namespace or for the target's.
func (t *trial) in(target bool) attacher {
	a := t.host
	if target {
		a.ns = t.target.ns
	}
	return a
}

func (t *trial) device(h HookSpec) error {
	index := 0
	first := t.target.interfaces[0]
	switch h.Scope {
	case ScopeDevice:
		index = first.Index
	case ScopePort, ScopeForeign:
		index = first.PeerIndex
	case ScopeBridge:
		index = t.bridge()
	case ScopeUplink:
		index = t.uplink
	case ScopeLoopback:
		index = loopbackIndex
	}
	if index == 0 {
		return fmt.Errorf("attach %s: there is no such device to try it at", h.Program)
	}
	return t.in(h.Scope == ScopeDevice).device(t.links, h, index)
}

// bridge is the index of the one that the target is connected to.
func (t *trial) bridge() int {
	for _, i := range t.target.wiring.Interfaces {
		if i.Bridge != nil {
			return i.Bridge.Index
		}
	}
	return 0
}

// loaded loads a program, once.
func (t *trial) loaded(name string) error {
	if err, done := t.byProgram[name]; done {
		return err
	}
	t.byProgram[name] = t.loadOne(name)
	return t.byProgram[name]
}

func (t *trial) loadOne(name string) error {
	program := t.specs[name]
	if program == nil {
		return fmt.Errorf("load %s: the BPF object has no such program", name)
	}
	if err := lacks(program, t.object.types); err != nil {
		return err
	}
	part := t.object.spec.Copy()
	part.Variables = nil
	part.Programs = map[string]*ebpf.ProgramSpec{name: program}
	coll, err := ebpf.NewCollectionWithOptions(part, collectionOptions(maps.Clone(t.kernel.loader.shared), t.object.types))
	if err != nil {
		return loadError(err)
	}
	t.host.programs[name] = coll.DetachProgram(name)
	coll.Close()
	return nil
}

func (t *trial) close() error {
	errs := []error{t.links.close(), t.target.ns.Close()}
	for _, program := range t.host.programs {
		errs = append(errs, program.Close())
	}
	if t.kernel != nil {
		errs = append(errs, t.kernel.close())
	}
	return errors.Join(errs...)
}
