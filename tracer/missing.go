package tracer

import (
	"errors"
	"slices"
)

// edgeRows are the rows of netfilter's first and last borders that this run wants.
func (t *Tracer) edgeRows() []HookSpec {
	rows := append(t.rows(ScopeHost, ScopeTarget), t.chains.borders(ScopeHost)...)
	for _, target := range t.targets {
		if target != nil {
			rows = append(rows, target.chains.borders(ScopeTarget)...)
		}
	}
	return rows
}

// failed notes that a program cannot be loaded here, and begins to load what
// takes its place.
func (t *Tracer) failed(program string, err error) {
	t.cfg.Log.Debug("a program cannot be loaded", "program", program, "error", err)
	t.choice.failed(t.cfg.hooks(), program, err)
	for border := 1; border < lastBorder; border++ { // of detail tables, which THE table does not have
		t.choice.failed([]HookSpec{borderRow(border)}, program, err)
	}
	t.choice.loadEarly(t.cfg.hooks(), program)
}

// borderRow stands for the borders between chains with that number, wherever they are.
func borderRow(border int) HookSpec {
	return HookSpec{Program: borderProgram(border), Provider: ProviderNetfilter, Border: border}
}

// coarserError says that journeys cannot be followed into targets' namespaces
// here: they must end at their devices.
type coarserError struct {
	missing []Missing
	err     error
}

// Error tells why.
func (e *coarserError) Error() string { return e.err.Error() }

// Unwrap returns what was tried.
func (e *coarserError) Unwrap() error { return e.err }

// settle looks at what has become of the hooks: a run goes on without one, but
// not where no journey could begin or end.
func (t *Tracer) settle() error {
	end := HookSpec{Program: "vt_local_in", Provider: ProviderNetfilter, Border: lastBorder}
	tried, noEnd := t.choice.lost(end)
	if noEnd && t.facts.hostMode && !t.facts.bridge {
		return &UnsupportedError{
			Feature: "follow packets of host mode", Needs: "netfilter links (Linux 6.4) or BPF trampolines (fentry)", Err: whyMissing(tried),
		}
	}
	if noEnd && t.facts.bridge && t.cfg.Detail != DetailDevices {
		return &coarserError{missing: t.missing(), err: whyMissing(tried)}
	}
	return t.blind()
}

// blind tells why no device of targets with devices of their own can be seen; nil where one can.
func (t *Tracer) blind() error {
	var first error
	needs := "tcx (Linux 6.6) or clsact filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)"
	if t.devicesBy == ProviderTracepoint {
		needs = "tracepoints for BPF programs (tp_btf or raw_tp)"
	}
	for _, h := range t.rows(ScopeUplink, ScopePort, ScopeDevice, ScopeMachine) {
		if h.Duty != DutyAlways || h.Provider != ProviderTCX && h.By != ProviderTracepoint {
			continue
		}
		tried, lost := t.choice.lost(h)
		if !lost && (h.Scope != ScopeUplink || t.choice.works(h)) { // where there is no uplink nothing of it was tried
			return nil
		}
		if lost && first == nil {
			first = &UnsupportedError{Feature: "see the devices of targets", Needs: needs, Err: whyMissing(tried)}
		}
	}
	if !t.facts.bridge {
		return nil
	}
	return first
}

// lacksBorders tells whether paths lack stamps that a full run has, at some place
// or everywhere: they cannot be held against what is predicted of them.
func (t *Tracer) lacksBorders() bool {
	if len(t.choice.leftOut()) > 0 {
		return true
	}
	return slices.ContainsFunc(t.rows(ScopeUplink, ScopeBridge, ScopePort, ScopeDevice, ScopeLoopback, ScopeHost, ScopeTarget), func(h HookSpec) bool {
		_, lost := t.choice.lost(h)
		return lost
	})
}

// allNotes are what a reader must know.
func (t *Tracer) allNotes() []string {
	notes := slices.Clone(t.notes)
	if len(t.cfg.missing) > 0 {
		notes = append(notes, "this kernel offers no provider for the hooks of netfilter, so journeys begin and end at the devices of their targets: "+
			"detail devices; vethtrace doctor tells why")
	}
	return notes
}

// missing are the hooks that this run wanted and does without.
func (t *Tracer) missing() []Missing {
	all := slices.Clone(t.cfg.missing)
	seen := map[string]bool{}
	for _, m := range all {
		seen[m.Hook] = true
	}
	add := func(h HookSpec, name string) {
		tried, lost := t.choice.lost(h)
		if !lost || seen[name] {
			return
		}
		seen[name] = true
		why := whyMissing(tried)
		all = append(all, Missing{Hook: name, Borders: h.Borders, Why: oneLine(why)})
	}
	for _, h := range Hooks() {
		if t.facts.programs[h.Program] && h.wants(t.cfg.Detail) && h.by(t.devicesBy) &&
			h.in(t.facts.bridge, t.facts.hostMode) && t.facts.has(h.Duty) {
			add(h, h.Name())
		}
	}
	for border := 1; border < lastBorder; border++ {
		h := borderRow(border)
		h.Borders = "the chains of a hook of netfilter"
		add(h, "netfilter/tables")
	}
	return append(all, t.choice.leftOut()...)
}

// oneLine is the text of an error, its parts joined by semicolons.
func oneLine(err error) string {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return firstLine(err.Error())
	}
	out := ""
	for i, part := range joined.Unwrap() {
		if i > 0 {
			out += "; "
		}
		out += firstLine(part.Error())
	}
	return out
}

// firstLine cuts off what follows: the verifier's log.
func firstLine(text string) string {
	for i, c := range text {
		if c == '\n' {
			return text[:i]
		}
	}
	return text
}
