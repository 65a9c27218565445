package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// kind is what an entry of the list names, spelled as in the list.
type kind string

const (
	kindStruct  kind = "struct"
	kindUnion   kind = "union"
	kindEnum    kind = "enum"
	kindTypedef kind = "typedef"
	kindConst   kind = "const" // enumerators looked up by name, whatever enum they belong to
)

// allMembers in place of member names takes them all.
const allMembers = "*"

// entry is one type of the list.
type entry struct {
	kind    kind
	name    string   // "" for kindConst
	members []string // in list order; empty with all
	all     bool
	line    int
}

// key identifies the entry as C spells its type.
func (e *entry) key() string { return string(e.kind) + " " + e.name }

// listError is a fault in the list, or something the list asks for that the
// kernel does not have.
type listError struct {
	file string
	line int
	msg  string
}

// Error says where and what.
func (e *listError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.msg) }

// parseList reads a list of types. file is its name for errors.
func parseList(r io.Reader, file string) ([]*entry, error) {
	p := listParser{file: file, seen: make(map[string]int)}
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		if err := p.line(n, scanner.Text()); err != nil {
			return nil, err
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	for _, e := range p.entries {
		if err := p.complete(e); err != nil {
			return nil, err
		}
	}
	return p.entries, nil
}

type listParser struct {
	file    string
	entries []*entry
	seen    map[string]int // key to line
}

func (p *listParser) errorf(line int, format string, args ...any) error {
	return &listError{p.file, line, fmt.Sprintf(format, args...)}
}

// line takes one line: empty, the head of an entry, or, when it begins with
// a blank, more members of the last entry.
func (p *listParser) line(n int, text string) error {
	text, _, _ = strings.Cut(text, "#")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if text[0] == ' ' || text[0] == '\t' {
		if len(p.entries) == 0 {
			return p.errorf(n, "members without a type before them")
		}
		return p.members(p.entries[len(p.entries)-1], n, text)
	}
	head, tail, _ := strings.Cut(text, ":")
	e, err := p.head(n, strings.Fields(head))
	if err != nil {
		return err
	}
	if before, ok := p.seen[e.key()]; ok && e.kind != kindConst {
		return p.errorf(n, "%s is already listed in line %d", e.key(), before)
	}
	p.seen[e.key()] = n
	p.entries = append(p.entries, e)
	return p.members(e, n, tail)
}

func (p *listParser) head(n int, words []string) (*entry, error) {
	e := &entry{line: n}
	if len(words) > 0 {
		e.kind = kind(words[0])
	}
	want := 2
	switch e.kind {
	case kindStruct, kindUnion, kindEnum, kindTypedef:
	case kindConst:
		want = 1
	default:
		return nil, p.errorf(n, "want struct, union, enum, typedef or const, got %q", strings.Join(words, " "))
	}
	if len(words) != want {
		return nil, p.errorf(n, "want one name after %q, got %q", e.kind, strings.Join(words[1:], " "))
	}
	if want == 2 {
		e.name = words[1]
	}
	return e, nil
}

func (p *listParser) members(e *entry, n int, text string) error {
	for _, m := range strings.Fields(text) {
		if m == allMembers {
			e.all = true
			continue
		}
		for _, have := range e.members {
			if have == m {
				return p.errorf(n, "%s is listed twice in %s", m, strings.TrimSpace(e.key()))
			}
		}
		e.members = append(e.members, m)
	}
	return nil
}

func (p *listParser) complete(e *entry) error {
	switch {
	case e.all && len(e.members) > 0:
		return p.errorf(e.line, "%s lists %q and single members", e.key(), allMembers)
	case e.kind == kindConst && e.all:
		return p.errorf(e.line, "const needs names, not %q", allMembers)
	case e.kind == kindEnum && len(e.members) == 0:
		e.all = true
	case e.kind != kindTypedef && !e.all && len(e.members) == 0:
		return p.errorf(e.line, "%s lists no members", strings.TrimSpace(e.key()))
	}
	return nil
}
