package tracer

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// candidate is a provider that may take a hook, and the program it takes it with.
type candidate struct {
	provider Provider
	program  string
	fallback bool // the program is of the fallback object
}

// candidates are the providers of a hook, in the order of preference. Which one
// a kernel allows is tried, never told from its version.
func (h HookSpec) candidates() []candidate {
	all := []candidate{{provider: h.Provider, program: h.Program}}
	switch {
	case h.Provider == ProviderTCX:
		all = append(all, candidate{ProviderClsact, h.Program, true})
	case h.Provider == ProviderNetfilter && (h.isFirst() || h.isLast()):
		all = append(all, candidate{ProviderTrampoline, "", true})
	case h.Provider == ProviderTracepoint:
		all = append(all, candidate{ProviderRawTracepoint, h.Program, true})
	}
	switch h.Program {
	case "vt_kfree_skb": // without a reason, before Linux 5.17
		all = append(all, candidate{ProviderRawTracepoint, "vt_kfree_skb_bare", true})
	case "vt_data_ready": // before the tracepoint, Linux 6.2
		all = append(all, candidate{ProviderTrampoline, "vt_data_ready_enter", true})
	}
	return all
}

// Missing is a hook that this run does without, because no provider works here.
type Missing struct {
	Hook    string // HookSpec.Name
	Borders string // what cannot be told apart, or is not seen
	Why     string // of each provider that was tried
}

// choice keeps which provider takes each hook: the first that can be loaded and
// attached. From then on the hook is that provider's at all places.
type choice struct {
	refused  map[Provider]error        // why
	fallback func() (*fallback, error) // the object, read when it is first needed

	mu     sync.Mutex
	hooks  map[string]*chosen // by HookSpec.key
	places []Missing          // where a hook that works elsewhere does not
}

type chosen struct {
	candidates []candidate // that are left
	settled    bool        // the first one of them has worked
	tried      []Attempted
}

func newChoice(cfg Config) *choice {
	c := &choice{refused: map[Provider]error{}, hooks: map[string]*chosen{}}
	for _, provider := range cfg.Refuse {
		c.refused[provider] = errRefused
	}
	if cfg.budgeted() {
		c.refused[ProviderTrampoline] = errBudget
	}
	return c
}

// errRefused is why a provider is not used that Config.Refuse names.
var errRefused = errors.New("not to be used in this run")

// errBudget is why trampolines do not come and go: each takes 0.14 s to detach.
var errBudget = errors.New("takes too long to come and go, as a budget wants it")

// errOccupied is a place that somebody else has: others of the same hook may do.
var errOccupied = errors.New("a qdisc of another kind is there")

// key is what a choice is made for: rows that share a program share it, but
// where that would give a border that one provider lacks to another row.
func (h HookSpec) key() string {
	if h.Provider == ProviderNetfilter && (h.isFirst() || h.isLast()) {
		return h.Program + "/edge"
	}
	return h.Program
}

// isFirst and isLast tell whether a row of netfilter is before or behind all chains.
func (h HookSpec) isFirst() bool { return h.Border == 0 && !h.isNull() }
func (h HookSpec) isLast() bool  { return h.Border == lastBorder && !h.isNull() }

// of is what was chosen for a hook; c.mu is held.
func (c *choice) of(h HookSpec) *chosen {
	one := c.hooks[h.key()]
	if one == nil {
		one = &chosen{candidates: h.candidates()}
		c.hooks[h.key()] = one
		c.skipRefused(one)
	}
	return one
}

func (c *choice) skipRefused(one *chosen) {
	for len(one.candidates) > 0 && c.refused[one.candidates[0].provider] != nil {
		one.fail(c.refused[one.candidates[0].provider])
	}
}

// fail goes on to the next candidate that is not refused.
func (c *chosen) fail(err error) {
	c.tried = append(c.tried, Attempted{Provider: c.candidates[0].provider, Err: err})
	c.candidates = c.candidates[1:]
}

// now is the candidate whose turn it is; false where none is left.
func (c *choice) now(h HookSpec) (candidate, bool) {
	if c == nil {
		return h.candidates()[0], true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(h)
	if len(one.candidates) == 0 {
		return candidate{}, false
	}
	return one.candidates[0], true
}

// next is told how a candidate did. True: it cannot take the hook here, another
// one has its turn. What has worked at one place fails at another for the place's
// sake, and so does what finds its device or namespace gone.
func (c *choice) next(h HookSpec, of candidate, err error) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(h)
	if len(one.candidates) == 0 || one.candidates[0] != of { // another goroutine was faster
		return err != nil
	}
	if err == nil {
		one.settled = true
		return false
	}
	if one.settled || errors.Is(err, unix.ENODEV) {
		return false
	}
	one.fail(err)
	c.skipRefused(one)
	return true
}

// leaveOut notes a place where a hook cannot be.
func (c *choice) leaveOut(h HookSpec, place string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := h.Name() + " at " + place
	for _, m := range c.places {
		if m.Hook == name {
			return
		}
	}
	c.places = append(c.places, Missing{Hook: name, Borders: h.Borders, Why: oneLine(err)})
}

// leftOut are these places.
func (c *choice) leftOut() []Missing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.places)
}

// provider is the one that takes a hook, or would be tried next.
func (c *choice) provider(h HookSpec) Provider {
	if one, ok := c.now(h); ok {
		return one.provider
	}
	return h.Provider
}

// lost tells whether no provider of a hook works, and what was tried.
func (c *choice) lost(h HookSpec) ([]Attempted, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.hooks[h.key()]
	if one == nil || len(one.candidates) > 0 {
		return nil, false
	}
	return one.tried, true
}

// works tells whether a hook was attached at some place.
func (c *choice) works(h HookSpec) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.hooks[h.key()]
	return one != nil && one.settled
}

// loads tells whether a program of the main object is of use.
func (c *choice) loads(program string) bool {
	for _, h := range Hooks() {
		if h.Program == program && c.refused[h.Provider] != nil {
			return false
		}
	}
	return true
}

// failed notes that a program of the main object cannot be loaded.
func (c *choice) failed(rows []HookSpec, program string, err error) {
	for _, h := range rows {
		if h.Program != program {
			continue
		}
		if one, ok := c.now(h); ok && !one.fallback {
			c.next(h, one, err)
		}
	}
}

// loadEarly begins to load what takes the place of a program of the main object.
func (c *choice) loadEarly(rows []HookSpec, program string) {
	var names []string
	for _, h := range rows {
		if one, ok := c.now(h); !ok || h.Program != program || !one.fallback {
			continue
		} else if one.provider == ProviderTrampoline && one.program == "" {
			names = append(names, trampolinePrograms()...)
		} else {
			names = append(names, one.program)
		}
	}
	if len(names) == 0 {
		return
	}
	if object, err := c.fallback(); err == nil { // else attaching tells
		object.loadEarly(names)
	}
}

// whyMissing joins what was tried.
func whyMissing(tried []Attempted) error {
	var errs []error
	for _, a := range tried {
		errs = append(errs, fmt.Errorf("%s: %w", a.Provider, a.Err))
	}
	return errors.Join(errs...)
}

// take attaches by the first candidate that works; where none does the hook is
// missing, which Snapshot names.
func (a attacher) take(h HookSpec, attach func(candidate, *ebpf.Program) error) error {
	for {
		one, ok := a.choice.now(h)
		if !ok {
			return nil
		}
		program, err := a.program(one)
		if err == nil {
			err = attach(one, program)
		}
		if !a.choice.next(h, one, err) {
			return err
		}
	}
}

// program is that of a candidate: nil for one that has several.
func (a attacher) program(of candidate) (*ebpf.Program, error) {
	if !of.fallback {
		if program := a.programs[of.program]; program != nil {
			return program, nil
		}
		return nil, fmt.Errorf("program %s is not loaded", of.program)
	}
	object, err := a.choice.fallback()
	if err != nil || of.program == "" {
		return nil, err
	}
	return object.program(of.program)
}
