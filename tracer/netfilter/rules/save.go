// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrSyntax is wrapped by errors of ParseSave.
var ErrSyntax = errors.New("not the output of iptables-save")

// Merge adds the chains and sets of another Set, of the other family for one.
func (s *Set) Merge(other *Set) {
	s.Chains = append(s.Chains, other.Chains...)
	if s.Sets == nil {
		s.Sets = map[SetKey]*NFSet{}
	}
	for k, v := range other.Sets {
		s.Sets[k] = v
	}
	if s.IPSets == nil {
		s.IPSets = map[string]*IPSet{}
	}
	for k, v := range other.IPSets {
		s.IPSets[k] = v
	}
	s.Notes = append(s.Notes, other.Notes...)
}

// ParseSave reads the output of iptables-save or ip6tables-save, with counters
// or without, or of iptables -S for one table (named by a line "*table" before
// it). family is ip or ip6. What it does not know becomes Opaque; an error says
// that the text is something else.
func ParseSave(text, family string, backend Backend) (*Set, error) {
	s := &saved{set: &Set{}, family: family, backend: backend, readers: newWordReaders()}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if err := s.line(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return s.set, nil
}

// saved is a text that is being read.
type saved struct {
	set     *Set
	family  string
	backend Backend
	table   string
	readers *wordReaders
}

func (s *saved) line(line string) error {
	switch {
	case line == "", line[0] == '#', line == "COMMIT":
		return nil
	case line[0] == '*':
		s.table = line[1:]
		return nil
	case s.table == "":
		return fmt.Errorf("%w: no table before %q", ErrSyntax, line)
	case line[0] == ':':
		return s.declare(line)
	}
	return s.rule(line)
}

// declare reads ":CHAIN POLICY [packets:bytes]".
func (s *saved) declare(line string) error {
	fields := strings.Fields(line[1:])
	if len(fields) < 2 {
		return fmt.Errorf("%w: %q", ErrSyntax, line)
	}
	c := s.chain(fields[0])
	if c.Base == nil {
		return nil
	}
	c.Base.Policy = Accept
	if fields[1] == "DROP" {
		c.Base.Policy = Drop
	}
	if len(fields) > 2 {
		c.Base.Counter, _ = parseCounter(fields[2])
	}
	return nil
}

func (s *saved) chain(name string) *Chain {
	if c := s.set.Chain(s.backend, s.family, s.table, name); c != nil {
		return c
	}
	c := &Chain{Backend: s.backend, Family: s.family, Table: s.table, Name: name, Base: Builtin(s.table, name)}
	s.set.Chains = append(s.set.Chains, c)
	return c
}

// Builtin is where iptables registers one of its own chains; nil for others.
func Builtin(table, chain string) *Base {
	hook := strings.ToLower(chain)
	b := &Base{Hook: hook, Type: "filter", Policy: Accept}
	hooks := []string{hookInput, hookForward, hookOutput}
	switch table {
	case "raw":
		hooks, b.Priority = []string{hookPrerouting, hookOutput}, -300
	case "mangle":
		hooks, b.Priority = append(hooks, hookPrerouting, hookPostrouting), -150
		if hook == hookOutput {
			b.Type = "route"
		}
	case "nat":
		hooks = []string{hookPrerouting, hookInput, hookOutput, hookPostrouting}
		b.Priority, b.Type = prioritySNAT, "nat"
		if manip(hook) == 1 {
			b.Priority = priorityDNAT
		}
	case "filter":
	case "security":
		b.Priority = 50
	default:
		return nil
	}
	if strings.ToUpper(hook) != chain || !slices.Contains(hooks, hook) {
		return nil
	}
	return b
}

// rule reads "[packets:bytes] -A CHAIN ...", or one of iptables -S's -P and -N.
func (s *saved) rule(line string) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	var counter *Counter
	if strings.HasPrefix(words[0], "[") {
		if counter, err = parseCounter(words[0]); err != nil {
			return err
		}
		words = words[1:]
	}
	if len(words) < 2 {
		return fmt.Errorf("%w: %q", ErrSyntax, line)
	}
	switch words[0] {
	case "-A":
	case "-N":
		s.chain(words[1])
		return nil
	case "-P":
		if len(words) < 3 {
			return fmt.Errorf("%w: %q", ErrSyntax, line)
		}
		return s.declare(":" + words[1] + " " + words[2])
	default:
		return fmt.Errorf("%w: %q", ErrSyntax, line)
	}
	c := s.chain(words[1])
	p := &ruleParser{family: s.family, words: words[2:], wordReaders: s.readers}
	if err := p.parse(); err != nil {
		return fmt.Errorf("%w in %q", err, line)
	}
	r := &Rule{Number: len(c.Rules) + 1, Counter: counter, Stmts: p.stmts}
	s.set.Describe(c, r)
	c.Rules = append(c.Rules, r)
	return nil
}

func parseCounter(word string) (*Counter, error) {
	packets, size, ok := strings.Cut(strings.Trim(word, "[]"), ":")
	a, err1 := strconv.ParseUint(packets, 10, 64)
	b, err2 := strconv.ParseUint(size, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%w: counter %q", ErrSyntax, word)
	}
	return &Counter{Packets: a, Bytes: b}, nil
}

// split cuts a line into words as a shell would, with the quotes of
// iptables-save.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case b == '"':
			quoted, in = !quoted, true
		case b == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case (b == ' ' || b == '\t') && !quoted:
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			word.WriteByte(b)
			in = true
		}
	}
	if in {
		words = append(words, word.String())
	}
	if quoted || len(words) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrSyntax, line)
	}
	return words, nil
}
