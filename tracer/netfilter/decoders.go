// SPDX-License-Identifier: Apache-2.0

package netfilter

import "github.com/vethtrace/vethtrace/tracer/netfilter/rules"

// decoders are what one reading of the rules decodes with.
type decoders struct {
	exprs   map[string]func(*reader, expression) error // expressions of nf_tables, by name
	matches map[xtKind]xtDecoder
	targets map[string]func(*xt) rules.Stmt
	// ipset names the set of an index.
	ipset func(index uint16) (string, bool)
}

func newDecoders(ipset func(uint16) (string, bool)) *decoders {
	return &decoders{exprs: exprReaders(), matches: xtMatches(), targets: xtTargets(), ipset: ipset}
}
