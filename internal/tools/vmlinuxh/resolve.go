package main

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// lookup finds the type that an entry names and that has all its members.
// A name can stand for several types (two source files with a private struct
// of the same name): the first that has them all is taken.
func (g *generator) lookup(e *entry) (btf.Type, error) {
	candidates, err := g.spec.AnyTypesByName(e.name)
	if err != nil {
		return nil, g.errorf(e, "%s is not in this kernel's BTF", e.key())
	}
	var missing []string
	found := false
	for _, c := range candidates {
		if !e.names(c) {
			continue
		}
		lacks := lacking(c, e.members)
		if len(lacks) == 0 {
			return c, nil
		}
		if !found {
			missing, found = lacks, true
		}
	}
	if !found {
		return nil, g.errorf(e, "%s is not in this kernel's BTF", e.key())
	}
	return nil, g.errorf(e, "%s has no %s in this kernel's BTF", e.key(), strings.Join(missing, ", "))
}

// names tells whether typ is of the entry's kind.
func (e *entry) names(typ btf.Type) bool {
	switch typ.(type) {
	case *btf.Struct:
		return e.kind == kindStruct
	case *btf.Union:
		return e.kind == kindUnion
	case *btf.Enum:
		return e.kind == kindEnum
	case *btf.Typedef:
		return e.kind == kindTypedef
	}
	return false
}

// lacking returns which of the names typ has no member or enumerator for.
func lacking(typ btf.Type, names []string) []string {
	have := make(map[string]bool)
	if td, ok := typ.(*btf.Typedef); ok {
		typ = btf.QualifiedType(td.Type)
	}
	if enum, ok := typ.(*btf.Enum); ok {
		for _, v := range enum.Values {
			have[v.Name] = true
		}
	}
	collect(typ, have)
	var lacks []string
	for _, n := range names {
		if !have[n] {
			lacks = append(lacks, n)
		}
	}
	return lacks
}

// collect adds the names by which C reaches the members of typ: its own, and
// those of anonymous structs and unions in it.
func collect(typ btf.Type, names map[string]bool) {
	members, _ := composite(typ)
	for _, m := range members {
		if m.Name == "" {
			collect(btf.QualifiedType(m.Type), names)
			continue
		}
		names[m.Name] = true
	}
}

// composite returns the members of a struct or union and the C keyword;
// the keyword is "" for every other type.
func composite(typ btf.Type) (members []btf.Member, keyword string) {
	switch t := typ.(type) {
	case *btf.Struct:
		return t.Members, "struct"
	case *btf.Union:
		return t.Members, "union"
	}
	return nil, ""
}

// constants finds enumerators by name in any enum of the kernel.
func (g *generator) constants(e *entry) ([]btf.EnumValue, error) {
	wanted := make(map[string]*btf.EnumValue, len(e.members))
	for _, n := range e.members {
		wanted[n] = nil
	}
	for typ, err := range g.spec.All() {
		if err != nil {
			return nil, fmt.Errorf("read BTF: %w", err)
		}
		enum, ok := typ.(*btf.Enum)
		if !ok {
			continue
		}
		for _, v := range enum.Values {
			have, ok := wanted[v.Name]
			if !ok {
				continue
			}
			if have != nil && have.Value != v.Value {
				return nil, g.errorf(e, "%s has two values in this kernel's BTF, %d and %d", v.Name, have.Value, v.Value)
			}
			wanted[v.Name] = &v
		}
	}
	values := make([]btf.EnumValue, 0, len(e.members))
	for _, n := range e.members {
		if wanted[n] == nil {
			return nil, g.errorf(e, "no enum of this kernel's BTF has %s", n)
		}
		values = append(values, *wanted[n])
	}
	return values, nil
}
