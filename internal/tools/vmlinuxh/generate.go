package main

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// generator writes C declarations of the listed types. Whatever a type needs
// to be complete is written before it, so the order follows from the list.
type generator struct {
	file     string
	spec     *btf.Spec
	entries  []*entry
	listed   map[string]*entry // by key
	state    map[*entry]progress
	forwards map[string]bool // "struct sock": used through pointers
	typedefs []string
	known    map[string]bool // typedefs written
	bodies   []string
}

// progress of an entry.
type progress int

const (
	untouched progress = iota
	underway
	written
)

// generate returns the declarations of all entries, without the file's frame.
func generate(spec *btf.Spec, entries []*entry, file string) (string, error) {
	g := &generator{
		file: file, spec: spec, entries: entries,
		listed:   make(map[string]*entry, len(entries)),
		state:    make(map[*entry]progress, len(entries)),
		forwards: make(map[string]bool),
		known:    make(map[string]bool),
	}
	for _, e := range entries {
		g.listed[e.key()] = e
	}
	for _, e := range entries {
		if err := g.define(e); err != nil {
			return "", err
		}
	}
	return g.String(), nil
}

// String joins what was written: forward declarations, typedefs, types.
func (g *generator) String() string {
	names := make([]string, 0, len(g.forwards))
	for name := range g.forwards {
		names = append(names, name+";\n")
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString(strings.Join(names, ""))
	b.WriteString("\n" + strings.Join(g.typedefs, ""))
	for _, body := range g.bodies {
		b.WriteString("\n" + body)
	}
	return b.String()
}

func (g *generator) errorf(e *entry, format string, args ...any) error {
	return &listError{g.file, e.line, fmt.Sprintf(format, args...)}
}

// define writes the entry's type, unless that was done.
func (g *generator) define(e *entry) error {
	switch g.state[e] {
	case untouched:
	case underway:
		return g.errorf(e, "%s contains itself", e.key())
	case written:
		return nil
	}
	g.state[e] = underway
	body, err := g.body(e)
	if err != nil {
		return err
	}
	g.state[e] = written
	if body != "" {
		g.bodies = append(g.bodies, body)
	}
	return nil
}

func (g *generator) body(e *entry) (string, error) {
	if e.kind == kindConst {
		values, err := g.constants(e)
		return enumBody("enum", values, false, nil) + ";\n", err
	}
	typ, err := g.lookup(e)
	if err != nil {
		return "", err
	}
	switch t := typ.(type) {
	case *btf.Enum:
		return enumBody("enum "+t.Name, t.Values, t.Signed, e.wanted()) + ";\n", nil
	case *btf.Typedef:
		return g.typedefBody(e, t)
	}
	text, err := g.compositeBody(e, typ, e.wanted(), "")
	if err != nil {
		return "", err
	}
	return text + ";\n" + assertion(e, typ), nil
}

func (g *generator) typedefBody(e *entry, t *btf.Typedef) (string, error) {
	inner := btf.QualifiedType(t.Type)
	if _, keyword := composite(inner); keyword == "" || inner.TypeName() != "" {
		if e.all || len(e.members) > 0 {
			return "", g.errorf(e, "%s has no members of its own: list the type it names", e.key())
		}
		_, err := g.typedef(e, t)
		return "", err
	}
	if !e.all && len(e.members) == 0 {
		return "", g.errorf(e, "%s is a struct of its own: list its members", e.key())
	}
	text, err := g.compositeBody(e, inner, e.wanted(), "")
	if err != nil {
		return "", err
	}
	return "typedef " + text + " " + t.Name + ";\n" + assertion(e, t), nil
}

// wanted returns the set of listed members, nil for all.
func (e *entry) wanted() map[string]bool {
	if e.all {
		return nil
	}
	names := make(map[string]bool, len(e.members))
	for _, m := range e.members {
		names[m] = true
	}
	return names
}

// assertion lets the compiler prove that a type taken with all its members
// has the kernel's layout, so that it may be copied as a whole.
func assertion(e *entry, typ btf.Type) string {
	if !e.all {
		return ""
	}
	size, err := btf.Sizeof(typ)
	if err != nil {
		return ""
	}
	name := e.key()
	if e.kind == kindTypedef {
		name = e.name
	}
	return fmt.Sprintf("_Static_assert(sizeof(%s) == %d, \"layout of %s\");\n", name, size, name)
}

// enumBody writes the wanted values of an enum, all with a nil set, without
// the closing semicolon.
func enumBody(head string, values []btf.EnumValue, signed bool, wanted map[string]bool) string {
	var b strings.Builder
	b.WriteString(head + " {\n")
	for _, v := range values {
		if wanted != nil && !wanted[v.Name] {
			continue
		}
		fmt.Fprintf(&b, "\t%s = %s,\n", v.Name, enumValue(v.Value, signed))
	}
	b.WriteString("}")
	return b.String()
}

func enumValue(value uint64, signed bool) string {
	switch {
	case signed && int64(value) == math.MinInt64:
		return "(-9223372036854775807LL - 1)" // C has no negative literals
	case signed && (int64(value) > math.MaxInt32 || int64(value) < math.MinInt32):
		return fmt.Sprintf("%dLL", int64(value))
	case signed:
		return fmt.Sprint(int64(value))
	case value > math.MaxUint32:
		return fmt.Sprintf("%dULL", value)
	case value > math.MaxInt32:
		return fmt.Sprintf("%dU", value)
	}
	return fmt.Sprint(value)
}
