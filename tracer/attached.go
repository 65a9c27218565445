package tracer

import (
	"strings"
	"sync"

	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/tracer/journey"
)

// Attachment is the state of a row of THE table of hooks.
type Attachment struct {
	Hook     string // port/egress, host/forward/first, netif_rx
	Provider Provider
	Links    int // attached now: by device, by namespace and family, or one for the machine
}

// Name of the hook: where it is, and which of those there.
func (h HookSpec) Name() string {
	var name string
	switch h.Provider {
	case ProviderTCX:
		if name = string(h.Scope) + "/ingress"; h.Egress {
			name = string(h.Scope) + "/egress"
		}
		if h.isNull() {
			name += "/null"
		}
		return name
	case ProviderNetfilter:
		name = string(h.Scope) + "/" + h.Point.String() + "/"
		switch {
		case h.isNull():
			return name + "null"
		case h.Border == 0:
			return name + "first"
		case h.Border == journey.LastBorder:
			return name + "last"
		}
		return name + "tables"
	}
	return strings.TrimPrefix(h.Program, "vt_")
}

// tally counts links by hook. Those that come and go with windows are counted
// too, so it is asked beside attaching. A nil one counts nothing.
type tally struct {
	mu    sync.Mutex
	links map[string]int // by HookSpec.Name
}

func newTally() *tally { return &tally{links: map[string]int{}} }

// hold counts a link until it is closed.
func (t *tally) hold(h HookSpec, l link.Link) link.Link {
	if t == nil {
		return l
	}
	t.add(h.Name(), 1)
	return &counted{Link: l, gone: sync.OnceFunc(func() { t.add(h.Name(), -1) })}
}

func (t *tally) add(hook string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links[hook] += n
}

// counted is a link that is told of when it is closed.
type counted struct {
	link.Link // nil: one of several users of what is attached
	gone      func()
}

// Close implements link.Link.
func (c *counted) Close() error {
	c.gone()
	if c.Link == nil {
		return nil
	}
	return c.Link.Close()
}

// attachments is the state of each hook that this run has, in the order of the
// table; what is only for some targets or devices, once there is one. t.mu is held.
func (t *Tracer) attachments() []Attachment {
	t.attached.mu.Lock()
	defer t.attached.mu.Unlock()
	var all []Attachment
	seen := map[string]bool{}
	add := func(h HookSpec, always bool) {
		name := h.Name()
		n := t.attached.links[name]
		if seen[name] || n == 0 && !always {
			return
		}
		seen[name] = true
		all = append(all, Attachment{Hook: name, Provider: t.choice.provider(h), Links: n})
	}
	for _, h := range Hooks() {
		if h.Provider == ProviderIterator || !t.facts.programs[h.Program] || !h.wants(t.cfg.Detail) || !h.by(t.devicesBy) {
			continue
		}
		add(h, h.in(t.facts.bridge, t.facts.hostMode) && t.facts.has(h.Duty))
	}
	for _, scope := range []Scope{ScopeHost, ScopeTarget} {
		for _, point := range []journey.Point{journey.PreRouting, journey.LocalIn, journey.Forward, journey.LocalOut, journey.PostRouting} {
			add(HookSpec{Provider: ProviderNetfilter, Scope: scope, Point: point, Border: 1}, false)
		}
	}
	return all
}
