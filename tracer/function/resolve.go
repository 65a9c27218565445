package function

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Probe is a function to be probed.
type Probe struct {
	Spec     Spec
	Name     string // that this kernel has it by
	Symbol   Symbol
	Argument Argument
	Number   uint8 // of its calls
}

// Types are the types of the kernel's modules; "" is the kernel itself.
type Types interface {
	Module(name string) (*btf.Spec, error)
}

// Resolve finds the functions of the table that this kernel has, if all is set,
// and those asked for. Of the table, what the kernel lacks is left out and its
// names returned; what was asked for must be there: Resolve fails with an
// UnknownError or a NoProbeError.
func Resolve(s *Symbols, types Types, all bool, asked []string) (probes []Probe, missing []string, err error) {
	if all {
		for _, spec := range Table() {
			p, err := first(s, types, spec)
			if err != nil {
				missing = append(missing, spec.Names[0])
				continue
			}
			probes = append(probes, p)
		}
	}
	for _, name := range asked {
		if slices.ContainsFunc(probes, func(p Probe) bool { return p.Name == name }) {
			continue
		}
		p, err := one(s, types, known(name), name)
		if err != nil {
			return nil, nil, err
		}
		probes = append(probes, p)
	}
	return probes, missing, number(probes)
}

// first finds a function by the first of its names that will do.
func first(s *Symbols, types Types, spec Spec) (Probe, error) {
	var errs []error
	for _, name := range spec.Names {
		p, err := one(s, types, spec, name)
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return Probe{}, errors.Join(errs...)
}

func one(s *Symbols, types Types, spec Spec, name string) (Probe, error) {
	symbol, err := s.find(name)
	if err != nil {
		return Probe{}, err
	}
	p := Probe{Spec: spec, Name: name, Symbol: symbol}
	if spec.Poll {
		p.Argument.Kind = KindPoll
		return p, nil
	}
	of, err := types.Module(symbol.Module)
	if err != nil {
		return Probe{}, &NoProbeError{Name: name, Why: fmt.Sprintf("no types of %s: %v", where(symbol), err)}
	}
	proto, err := prototype(of, name)
	if err != nil {
		return Probe{}, &NoProbeError{Name: name, Why: fmt.Sprintf("not among the types of %s: its arguments are not known", where(symbol))}
	}
	argument, ok := Find(proto)
	if !ok {
		return Probe{}, &NoProbeError{Name: name, Why: "none of its arguments leads to a packet (struct sk_buff *)"}
	}
	if spec.Tables {
		argument.Table, argument.Name = table(of, proto)
	}
	p.Argument = argument
	return p, nil
}

func where(s Symbol) string {
	if s.Module == "" {
		return "the kernel"
	}
	return "module " + s.Module
}

func prototype(of *btf.Spec, name string) (*btf.FuncProto, error) {
	found, err := of.AnyTypesByName(name)
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		if f, ok := t.(*btf.Func); ok {
			if proto, ok := f.Type.(*btf.FuncProto); ok {
				return proto, nil
			}
		}
	}
	return nil, fmt.Errorf("%s is no function", name)
}

// inRegisters is how many arguments are passed where kprobes can read them.
const inRegisters = 6

// Find tells which argument leads to the packet: a pointer to an sk_buff before
// one to what has it.
func Find(proto *btf.FuncProto) (Argument, bool) {
	if len(proto.Params) > inRegisters {
		proto = &btf.FuncProto{Params: proto.Params[:inRegisters]}
	}
	for i, param := range proto.Params {
		if s := pointee(param.Type); s != nil && s.Name == "sk_buff" {
			return Argument{Kind: KindSkb, Position: i}, true
		}
	}
	for i, param := range proto.Params {
		if offset, ok := leads(param.Type); ok {
			return Argument{Kind: KindMember, Position: i, Offset: offset}, true
		}
	}
	return Argument{}, false
}

// leads tells whether a type points to a pointer to an sk_buff, or to a struct
// that has one under the name skb, and where.
func leads(t btf.Type) (offset uint16, ok bool) {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return 0, false
	}
	if s := pointee(p.Target); s != nil && s.Name == "sk_buff" {
		return 0, true
	}
	s, ok := btf.UnderlyingType(p.Target).(*btf.Struct)
	if !ok {
		return 0, false
	}
	for _, m := range s.Members {
		if of := pointee(m.Type); m.Name == "skb" && of != nil && of.Name == "sk_buff" {
			return uint16(m.Offset.Bytes()), true
		}
	}
	return 0, false
}

// pointee is the struct that a type points to, or nil.
func pointee(t btf.Type) *btf.Struct {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return nil
	}
	s, _ := btf.UnderlyingType(p.Target).(*btf.Struct)
	return s
}

// table finds the argument that is a netfilter table, which is passed as
// struct xt_table * or as the void * of a hook, and where its name is.
func table(of *btf.Spec, proto *btf.FuncProto) (position int, name uint16) {
	var xt *btf.Struct
	if of.TypeByName("xt_table", &xt) != nil {
		return 0, 0
	}
	for _, m := range xt.Members {
		if m.Name == "name" {
			name = uint16(m.Offset.Bytes())
		}
	}
	for i, param := range proto.Params {
		if s := pointee(param.Type); s != nil && s.Name == "xt_table" {
			return i + 1, name
		}
	}
	for i, param := range proto.Params {
		if p, ok := btf.UnderlyingType(param.Type).(*btf.Pointer); ok {
			if _, isVoid := btf.UnderlyingType(p.Target).(*btf.Void); isVoid {
				return i + 1, name
			}
		}
	}
	return 0, 0
}
