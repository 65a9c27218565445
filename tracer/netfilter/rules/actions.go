// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
)

// does carries out a statement whose condition, if it is one, holds. done says
// that the rule ends here.
func (r *run) does(s Stmt, step *Step) (out Go, done bool) {
	switch s := s.(type) {
	case Go:
		if s.Kind == GoContinue {
			return s, false
		}
		step.Does = s.word()
		return s, true
	case GoMap:
		return r.goMap(s, step)
	case NAT:
		return r.nat(s, step)
	case RejectWith:
		step.Does = Reject.String()
		return Go{Kind: GoDrop, Chain: "reject"}, true
	case Assign:
		r.assign(s)
		step.Does = "set"
	case Save:
		r.save(s)
		step.Does = "set"
	case Track:
		if s.Off && r.early { // who has a connection keeps it
			r.p.Conn.State, r.notrack = Untracked, true
			step.Does = "notrack"
		}
	case Touch:
		name := s.Set
		if s.IPSet {
			name = "ipset " + name
		}
		r.touched[name] = true
	case ToProgram:
		step.Does = Queue.String()
		return Go{Kind: GoQueue}, true
	case Opaque:
		// What it does if it holds may be anything: only the rule's end tells.
		return r.opaque(s)
	case Test:
		r.afterMatch(s.Match)
	}
	return Go{}, false
}

// opaque: a statement without a model may let the rule go on, or end the packet.
func (r *run) opaque(s Opaque) (Go, bool) {
	if !s.Target {
		return Go{}, false
	}
	if r.choose(s.Text + " may drop the packet") {
		return Go{Kind: GoDrop}, true
	}
	if r.choose(s.Text + " may accept the packet") {
		return Go{Kind: GoAccept}, true
	}
	return Go{}, false
}

func (g Go) word() string {
	switch g.Kind {
	case GoAccept:
		return Accept.String()
	case GoDrop:
		return Drop.String()
	case GoReturn:
		return "return"
	case GoJump:
		return "jump " + g.Chain
	case GoGoto:
		return "goto " + g.Chain
	case GoQueue:
		return Queue.String()
	}
	return ""
}

func (r *run) goMap(s GoMap, step *Step) (Go, bool) {
	key, st := r.value(s.Left, 0)
	var e *Element
	if st == known {
		e, _ = r.lookup(s.Set, key)
	}
	if e == nil || e.Jump == nil {
		r.giveUp("verdict map %s: %s", s.Set, r.reason)
		return Go{}, true
	}
	step.Does = e.Jump.word()
	if e.Jump.Kind == GoContinue {
		return Go{}, true
	}
	return *e.Jump, true
}

// assign writes marks; what it writes elsewhere makes that unknown.
func (r *run) assign(s Assign) {
	b, st := r.value(s.From, 0)
	number := uint32(0)
	sure := st == known && len(b) >= 4
	if sure {
		number = binary.NativeEndian.Uint32(b)
	}
	switch to := s.To.(type) {
	case Meta:
		switch to.Key {
		case "mark":
			r.p.Mark, r.vague.mark = number, !sure
		case "pkttype":
			r.p.PktType = Opt[uint8]{}
			if st == known && len(b) > 0 {
				r.p.PktType = Some(b[0])
			}
		}
	case CT:
		switch {
		case !r.p.tracked():
		case to.Key == "mark":
			r.p.Conn.Mark, r.vague.ctmark = number, !sure
		case to.Key == "helper":
			r.p.Conn.Helper = Opt[string]{}
		}
	case Payload:
		r.overwrite(to, b, st)
	}
}

// overwrite: rules of those that write them change the TTL and the TOS; an
// address or port that is written this way is no longer known.
func (r *run) overwrite(to Payload, b []byte, st status) {
	sure := st == known && len(b) == 1 && to.Len == 1
	if to.Base == NetworkHeader {
		switch {
		case !r.p.V6() && to.Offset == 1 && sure:
			r.p.TOS = Some(b[0])
			return
		case !r.p.V6() && to.Offset == 8 && sure, r.p.V6() && to.Offset == 7 && sure:
			r.p.TTL = Some(b[0])
			return
		}
		r.p.TOS, r.p.TTL = Opt[uint8]{}, Opt[uint8]{}
		if to.Offset+to.Len > 9 {
			r.vague.src, r.vague.dst = true, true
		}
		return
	}
	r.vague.sport, r.vague.dport = true, true
}

// save copies a mark between the packet and its connection.
func (r *run) save(s Save) {
	if !r.p.tracked() {
		return
	}
	if s.Restore {
		r.p.Mark = r.p.Mark&^s.PacketMask ^ r.p.Conn.Mark&s.CTMask
		r.vague.mark = r.vague.mark || r.vague.ctmark
		return
	}
	r.p.Conn.Mark = r.p.Conn.Mark&^s.CTMask ^ r.p.Mark&s.PacketMask
	r.vague.ctmark = r.vague.ctmark || r.vague.mark
}
