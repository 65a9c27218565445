package main

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// compositeBody writes a struct or union with its wanted members, all with a
// nil set, without the closing semicolon. Anonymous structs and unions keep
// their nesting: CO-RE matches a member by its way through them.
func (g *generator) compositeBody(e *entry, typ btf.Type, wanted map[string]bool, indent string) (string, error) {
	members, keyword := composite(typ)
	head := keyword
	if name := typ.TypeName(); name != "" {
		head += " " + name
	}
	var b strings.Builder
	b.WriteString(head + " {\n")
	for _, m := range members {
		line, err := g.member(e, m, wanted, indent+"\t")
		if err != nil {
			return "", err
		}
		b.WriteString(line)
	}
	b.WriteString(indent + "}")
	return b.String(), nil
}

// member writes one member, or "" when it is not wanted.
func (g *generator) member(e *entry, m btf.Member, wanted map[string]bool, indent string) (string, error) {
	inner := btf.QualifiedType(m.Type)
	if m.Name == "" {
		if !reaches(inner, wanted) {
			return "", nil
		}
		text, err := g.compositeBody(e, inner, wanted, indent)
		return indent + text + ";\n", err
	}
	if wanted != nil && !wanted[m.Name] {
		return "", nil
	}
	if _, keyword := composite(inner); keyword != "" && inner.TypeName() == "" {
		text, err := g.compositeBody(e, inner, nil, indent)
		return indent + text + " " + m.Name + ";\n", err
	}
	decl, err := g.declare(e, m.Type, m.Name)
	if err != nil {
		return "", err
	}
	if m.BitfieldSize > 0 {
		decl += fmt.Sprintf(": %d", m.BitfieldSize)
	}
	return indent + decl + ";\n", nil
}

// reaches tells whether an anonymous struct or union holds a wanted member.
func reaches(typ btf.Type, wanted map[string]bool) bool {
	if wanted == nil {
		return true
	}
	names := make(map[string]bool)
	collect(typ, names)
	for n := range names {
		if wanted[n] {
			return true
		}
	}
	return false
}

// declare writes the C declaration of name with the given type. Qualifiers
// are left out: CO-RE ignores them and readers do not need them.
func (g *generator) declare(e *entry, typ btf.Type, name string) (string, error) {
	decl := name
	pointer := false
	for {
		typ = btf.QualifiedType(typ)
		switch t := typ.(type) {
		case *btf.Pointer:
			decl, pointer, typ = "*"+decl, true, t.Target
			continue
		case *btf.Array:
			if strings.HasPrefix(decl, "*") {
				decl = "(" + decl + ")"
			}
			decl, typ = fmt.Sprintf("%s[%d]", decl, t.Nelems), t.Type
			continue
		}
		base, err := g.base(e, typ, pointer)
		if err != nil {
			return "", err
		}
		return base + " " + decl, nil
	}
}

// base spells a type that is neither pointer nor array, and sees to it that
// what it needs is written before: the whole type, or, behind a pointer, no
// more than a forward declaration.
func (g *generator) base(e *entry, typ btf.Type, pointer bool) (string, error) {
	switch t := typ.(type) {
	case *btf.Void:
		return "void", nil
	case *btf.Int:
		return t.Name, nil
	case *btf.Float:
		return t.Name, nil
	case *btf.FuncProto:
		return "void", nil // a pointer to a function: only its value can be of use
	case *btf.Fwd:
		return g.forward(t.Kind.String() + " " + t.Name), nil
	case *btf.Typedef:
		return g.alias(e, t, pointer)
	case *btf.Enum:
		if t.Name == "" {
			body := enumBody("enum", t.Values, t.Signed, nil)
			return strings.Join(strings.Fields(body), " "), nil // in one line
		}
		return g.require(e, "enum "+t.Name)
	}
	_, keyword := composite(typ)
	if keyword == "" || typ.TypeName() == "" {
		return "", g.errorf(e, "%s uses %v, which can't be declared", e.key(), typ)
	}
	key := keyword + " " + typ.TypeName()
	if pointer {
		return g.forward(key), nil
	}
	return g.require(e, key)
}

// alias spells a typedef. One that only renames a named type is resolved: its
// name would have to come after that type.
func (g *generator) alias(e *entry, t *btf.Typedef, pointer bool) (string, error) {
	inner := btf.QualifiedType(t.Type)
	_, keyword := composite(inner)
	_, isEnum := inner.(*btf.Enum)
	switch {
	case (keyword != "" || isEnum) && inner.TypeName() != "":
		return g.base(e, inner, pointer)
	case keyword != "":
		if _, err := g.require(e, "typedef "+t.Name); err != nil {
			return "", err
		}
		return t.Name, nil
	}
	return g.typedef(e, t)
}

// typedef writes a typedef of a scalar, after those it builds upon.
func (g *generator) typedef(e *entry, t *btf.Typedef) (string, error) {
	if g.known[t.Name] {
		return t.Name, nil
	}
	decl, err := g.declare(e, t.Type, t.Name)
	if err != nil {
		return "", err
	}
	g.known[t.Name] = true
	g.typedefs = append(g.typedefs, "typedef "+decl+";\n")
	return t.Name, nil
}

func (g *generator) forward(key string) string {
	g.forwards[key] = true
	return key
}

// require writes a listed type that e contains.
func (g *generator) require(e *entry, key string) (string, error) {
	need, ok := g.listed[key]
	if !ok {
		return "", g.errorf(e, "%s contains %s: list it too", e.key(), key)
	}
	return key, g.define(need)
}
