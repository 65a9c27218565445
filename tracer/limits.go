package tracer

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Limit is something that bounds how many targets can be traced.
type Limit string

// The limits.
const (
	LimitFiles  Limit = "open files"     // RLIMIT_NOFILE of this process
	LimitMemory Limit = "bytes for maps" // Config.Memory
)

// LimitError says that targets do not fit into a limit. Nothing was attached
// for any of them.
type LimitError struct {
	Limit   Limit
	Needs   uint64 // for all of them, with what is used already
	Has     uint64
	Targets int      // how many were wanted, with those traced already
	Fit     int      // how many of them would fit
	Left    []string // names of those that would not
}

// Error names the limit, and what does not fit into it.
func (e *LimitError) Error() string {
	const most = 3
	left := ""
	if len(e.Left) > 0 {
		left = ", no room for " + strings.Join(e.Left[:min(most, len(e.Left))], ", ")
		if more := len(e.Left) - most; more > 0 {
			left += fmt.Sprintf(" and %d more", more)
		}
	}
	return fmt.Sprintf("trace %d targets: needs %d %s, the limit is %d: %d of them would fit%s",
		e.Targets, e.Needs, e.Limit, e.Has, e.Fit, left)
}

// checkLimits tells before anything is attached whether these targets fit,
// beside those that are traced already.
func (t *Tracer) checkLimits(targets []*target) error {
	if t.kernel == nil { // maps do not grow later
		if err := t.checkMemory(targets); err != nil {
			return err
		}
	}
	return t.checkFiles(targets)
}

// CheckFiles tells, before anything is opened for them, whether so many targets
// with devices of their own fit into this process's limit of open files: by the
// table of hooks, for one device each. each is what the caller itself opens per
// target. It fails with a LimitError.
func CheckFiles(cfg Config, names []string, each int) error {
	cfg = cfg.withDefaults()
	t := &Tracer{cfg: cfg, facts: facts{bridge: true, programs: map[string]bool{}}, chains: &chainPlan{}}
	t.devicesBy, _ = devicesBy(cfg, len(names))
	for _, h := range cfg.hooks() {
		t.facts.programs[h.Program] = true
	}
	one := &target{chains: t.chains}
	one.wiring.Interfaces = []topology.Interface{{Peer: &topology.Link{}}}
	needs := 1 + each + t.filesOf(one) // its namespace
	var targets []*target
	for _, name := range names {
		targets = append(targets, &target{spec: TargetSpec{Name: name}})
	}
	return t.fitFiles(targets, func(*target) int { return needs })
}

func (t *Tracer) checkFiles(targets []*target) error {
	return t.fitFiles(targets, t.filesOf)
}

// fitFiles holds what is open, and what these targets need, against the limit.
func (t *Tracer) fitFiles(targets []*target, files func(*target) int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("count open files: %w", err)
	}
	needs := uint64(len(open) + t.cfg.Spare)
	if t.kernel == nil {
		needs += uint64(t.ownFiles())
	} else if t.cycle.away() {
		needs += uint64(t.awayFiles())
	}
	fit := len(targets)
	for i, target := range targets {
		if needs += uint64(files(target)); needs > limit.Cur && fit == len(targets) {
			fit = i
		}
	}
	if needs <= limit.Cur {
		return nil
	}
	return t.tooMany(LimitFiles, needs, limit.Cur, targets, fit)
}

func (t *Tracer) tooMany(limit Limit, needs, has uint64, targets []*target, fit int) *LimitError {
	e := &LimitError{Limit: limit, Needs: needs, Has: has, Targets: len(targets), Fit: fit}
	if t.kernel != nil {
		before := len(t.all()) - len(t.removed)
		e.Targets, e.Fit = e.Targets+before, e.Fit+before
	}
	for _, target := range targets[min(fit, len(targets)):] {
		e.Left = append(e.Left, target.spec.Name)
	}
	return e
}

// ownFiles are the descriptors that a tracer holds whatever its targets are:
// programs, maps, the ring buffer's reader, and links of the host.
func (t *Tracer) ownFiles() int {
	const mapsAndRing = 18
	n := mapsAndRing + len(t.facts.programs)
	for _, h := range t.rows(ScopeBridge, ScopeUplink, ScopeLoopback, ScopeHost, ScopeMachine) {
		n += filesOfRow(h)
	}
	for _, h := range t.chains.borders(ScopeHost) {
		n += filesOfRow(h)
	}
	return n
}

// awayFiles are the descriptors that come back with the next window of a budget.
func (t *Tracer) awayFiles() (n int) {
	for _, h := range t.rows(ScopeHost, ScopeMachine) {
		if !h.Stays {
			n += filesOfRow(h)
		}
	}
	for _, target := range t.targets {
		if target != nil {
			n += t.filesOf(target) // less what stays, of which there is none
		}
	}
	return n
}

// filesOf are the descriptors that a target needs: those of its namespace and
// of the links there and at its devices. The namespace is open already.
func (t *Tracer) filesOf(target *target) int {
	if target.hostMode {
		return 0
	}
	connected := 0
	for _, i := range target.wiring.Interfaces {
		if i.Connected() {
			connected++
		}
	}
	n := 0
	for _, h := range t.rows(ScopePort, ScopeDevice, ScopeTarget) {
		if h.Provider == ProviderTCX {
			n += connected
		} else {
			n += filesOfRow(h)
		}
	}
	for _, h := range t.windowed(ScopeTarget) {
		n += filesOfRow(h)
	}
	for _, h := range target.chains.borders(ScopeTarget) {
		n += filesOfRow(h)
	}
	return n
}

func filesOfRow(h HookSpec) int {
	if h.Provider == ProviderNetfilter {
		return 2 // a link per family
	}
	return 1
}

// checkMemory holds the maps' size against the ceiling: they are made for as
// many targets as there may be.
func (t *Tracer) checkMemory(targets []*target) error {
	if t.cfg.Memory == 0 {
		return nil
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	spec, err := bpf.LoadKernel()
	if err != nil {
		return fmt.Errorf("read the BPF object: %w", err)
	}
	bytes := func(capacity int) uint64 {
		resize(spec, sizesFor(capacity, cpus))
		return mapBytes(spec, cpus)
	}
	needs := bytes(t.cfg.Capacity)
	if needs <= t.cfg.Memory {
		return nil
	}
	fit := 0
	for fit+1 < t.cfg.Capacity && bytes(fit+1) <= t.cfg.Memory {
		fit++
	}
	e := t.tooMany(LimitMemory, needs, t.cfg.Memory, targets, fit)
	e.Targets = t.cfg.Capacity
	return e
}

// mapBytes is what the maps of a run take in the kernel.
func mapBytes(spec *ebpf.CollectionSpec, cpus int) (total uint64) {
	for _, m := range spec.Maps {
		value := uint64(m.ValueSize+7) / 8 * 8
		entries := uint64(m.MaxEntries)
		switch m.Type {
		case ebpf.PerCPUArray:
			total += value * uint64(cpus) * entries
		case ebpf.RingBuf:
			total += entries
		case ebpf.Hash: // an element has a head of 48 bytes, a bucket 16
			total += (48 + uint64(m.KeySize+7)/8*8 + value + 16) * entries
		default:
			total += value * entries
		}
	}
	return total
}
