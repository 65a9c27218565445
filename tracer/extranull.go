package tracer

import (
	"fmt"
	"strings"
)

// isNull tells whether a row is a null hop.
func (h HookSpec) isNull() bool { return strings.HasPrefix(h.Is, "null hop") }

// extra is the n-th more null hop behind one, from 1 on. Each is a program of
// its own: a device takes no program twice.
func (h HookSpec) extra(n int) HookSpec {
	before := h.Program
	if n > 1 {
		before = copyName(h.Program, n-1)
	}
	if h.Behind != "" {
		h.Behind = before
	}
	if h.Provider == ProviderNetfilter {
		h.Border += n
	}
	h.Program = copyName(h.Program, n)
	return h
}

func copyName(program string, n int) string { return fmt.Sprintf("%s_%d", program, n) }

// hooks is THE table, with the more null hops that are asked for.
func (c Config) hooks() []HookSpec {
	var all []HookSpec
	for _, h := range Hooks() {
		all = append(all, h)
		for n := 1; h.isNull() && n <= c.ExtraNulls; n++ {
			all = append(all, h.extra(n))
		}
	}
	return all
}

// copies are the programs that hooks has and the object has not, and of what they are copies.
func (c Config) copies() map[string]string {
	copies := map[string]string{}
	for _, h := range Hooks() {
		for n := 1; h.isNull() && n <= c.ExtraNulls; n++ {
			copies[copyName(h.Program, n)] = h.Program
		}
	}
	return copies
}
