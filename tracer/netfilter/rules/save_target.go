// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// jump reads a target with its options.
func (p *ruleParser) jump(isGoto bool) error {
	from := p.at - 1
	name := p.next()
	if isGoto {
		p.add(Go{Kind: GoGoto, Chain: name})
		return nil
	}
	switch name {
	case "ACCEPT":
		p.add(Go{Kind: GoAccept})
	case "DROP":
		p.add(Go{Kind: GoDrop})
	case "RETURN":
		p.add(Go{Kind: GoReturn})
	case "":
		return errOption("-j")
	default:
		at := len(p.stmts)
		read, ok := p.targets[name]
		if !ok {
			if strings.HasPrefix(p.peek(), "--") {
				p.add(Opaque{p.rest(from), true})
				return nil
			}
			p.add(Go{Kind: GoJump, Chain: name})
			return nil
		}
		if err := read(p, name); err != nil {
			p.stmts = p.stmts[:at]
			p.add(Opaque{p.rest(from), true})
		}
	}
	return nil
}

func readNAT(p *ruleParser, name string) error {
	s := NAT{Kind: map[string]NATKind{"SNAT": SNAT, "DNAT": DNAT, "MASQUERADE": Masquerade, "REDIRECT": Redirect}[name]}
	s.Netmap = name == "NETMAP"
	err := p.each(func(word string, _ bool) error {
		switch word {
		case "--to-destination", "--to-source":
			return s.endpoint(p.next())
		case "--to-ports":
			return s.ports(p.next())
		case "--to":
			prefix, err := parsePrefix(p.next())
			s.prefix(prefix)
			return err
		case "--random", "--random-fully":
			s.Random, s.Fully = true, word == "--random-fully"
		case "--persistent":
			s.Persistent = true
		default:
			return errOption(word)
		}
		return nil
	})
	s.FromHook = s.Netmap // PREROUTING and OUTPUT translate the destination
	p.add(s)
	return err
}

// prefix is what NETMAP maps to.
func (n *NAT) prefix(prefix netip.Prefix) {
	if !prefix.IsValid() {
		return
	}
	low, mask := prefix.Masked().Addr().AsSlice(), maskOf(prefix)
	high := slices.Clone(low)
	for i := range high {
		high[i] |= ^mask[i]
	}
	n.AddrMin, n.AddrMax = Const(low), Const(high)
}

// endpoint reads [ADDR[-ADDR]][:PORT[-PORT]], with an IPv6 address in brackets
// where a port follows.
func (n *NAT) endpoint(word string) error {
	addrs, ports := word, ""
	switch {
	case strings.HasPrefix(word, "["):
		end := strings.LastIndex(word, "]")
		if end < 0 {
			return errOption(word)
		}
		addrs, ports = strings.NewReplacer("[", "", "]", "").Replace(word[:end]), strings.TrimPrefix(word[end+1:], ":")
	case strings.Count(word, ":") == 1:
		addrs, ports, _ = strings.Cut(word, ":")
	}
	if addrs != "" {
		first, last, ranged := strings.Cut(addrs, "-")
		a, err := netip.ParseAddr(first)
		if err != nil {
			return errOption(word)
		}
		n.AddrMin = Const(a.AsSlice())
		if ranged {
			b, err := netip.ParseAddr(last)
			if err != nil || a.Is4() != b.Is4() {
				return errOption(word)
			}
			n.AddrMax = Const(b.AsSlice())
		}
	}
	if ports == "" {
		return nil
	}
	return n.ports(ports)
}

// ports reads PORT, PORT-PORT or PORT-PORT/BASE.
func (n *NAT) ports(word string) error {
	first, last, ranged := strings.Cut(word, "-")
	last, base, shifted := strings.Cut(last, "/")
	if shifted {
		port, err := parsePort(base)
		if err != nil {
			return err
		}
		n.Shifted, n.Base = true, port
	}
	a, err := parsePort(first)
	if err != nil {
		return err
	}
	n.PortMin = Const(binary.BigEndian.AppendUint16(nil, a))
	if !ranged {
		return nil
	}
	b, err := parsePort(last)
	n.PortMax = Const(binary.BigEndian.AppendUint16(nil, b))
	return err
}

// MarkTo is an assignment mark = (mark & ^mask) ^ value.
func MarkTo(value, mask uint32) Assign {
	if mask == ^uint32(0) {
		return Assign{To: Meta{"mark"}, From: Const(binary.NativeEndian.AppendUint32(nil, value))}
	}
	return Assign{To: Meta{"mark"}, From: Bitwise{
		Meta{"mark"}, binary.NativeEndian.AppendUint32(nil, ^mask), binary.NativeEndian.AppendUint32(nil, value),
	}}
}

func readSetMark(p *ruleParser, _ string) error {
	return p.each(func(word string, _ bool) error {
		value, mask, err := parseMasked(p.next())
		switch word {
		case "--set-xmark":
		case "--set-mark":
			mask |= value
		case "--and-mark":
			value, mask = 0, ^value
		case "--or-mark":
			mask = value
		case "--xor-mark":
			mask = 0
		default:
			return errOption(word)
		}
		p.add(MarkTo(value, mask))
		return err
	})
}

func readConnmark(p *ruleParser, _ string) error {
	save := Save{CTMask: ^uint32(0), PacketMask: ^uint32(0)}
	op := ""
	var value, mask uint32
	err := p.each(func(word string, _ bool) (err error) {
		switch word {
		case "--save-mark", "--restore-mark":
			op, save.Restore = word, word == "--restore-mark"
		case "--mask":
			save.CTMask, err = parse32(p.next())
			save.PacketMask = save.CTMask
		case "--nfmask":
			save.PacketMask, err = parse32(p.next())
		case "--ctmask":
			save.CTMask, err = parse32(p.next())
		case "--set-xmark", "--set-mark":
			op = word
			value, mask, err = parseMasked(p.next())
			if word == "--set-mark" {
				mask |= value
			}
		default:
			return errOption(word)
		}
		return err
	})
	switch op {
	case "":
		return errOption("CONNMARK")
	case "--save-mark", "--restore-mark":
		p.add(save)
	default:
		p.add(ConnmarkTo(value, mask))
	}
	return err
}

// ConnmarkTo is an assignment to the connection's mark as MarkTo's.
func ConnmarkTo(value, mask uint32) Assign {
	return Assign{XT: true, To: CT{Key: "mark"}, From: Bitwise{
		CT{Key: "mark"}, binary.NativeEndian.AppendUint32(nil, ^mask), binary.NativeEndian.AppendUint32(nil, value),
	}}
}

func readReject(p *ruleParser, _ string) error {
	s := RejectWith{With: DefaultReject(p.family)}
	err := p.each(func(word string, _ bool) error {
		if word != "--reject-with" {
			return errOption(word)
		}
		s.With = p.next()
		return nil
	})
	p.add(s)
	return err
}

// DefaultReject is what REJECT answers unless it is told.
func DefaultReject(family string) string {
	if family == "ip6" {
		return "icmp6-port-unreachable"
	}
	return "icmp-port-unreachable"
}

func readNote(p *ruleParser, name string) error {
	from := p.at
	p.rest(from)
	p.add(Note{Target: name, Text: quoteAll(p.words[from:p.at])})
	return nil
}

func readTrack(p *ruleParser, name string) error {
	from := p.at
	p.rest(from)
	words := p.words[from:p.at]
	s := Track{Off: name == "NOTRACK" || slices.Contains(words, "--notrack"), Text: strings.TrimSpace(name + " " + quoteAll(words))}
	p.add(s)
	return nil
}

func readProgram(p *ruleParser, name string) error {
	from := p.at
	p.rest(from)
	p.add(ToProgram{Text: strings.TrimSpace(name + " " + quoteAll(p.words[from:p.at]))})
	return nil
}

// readSpoil reads targets that write the TTL or the TOS.
func readSpoil(p *ruleParser, name string) error {
	from := p.at
	p.rest(from)
	words := p.words[from:p.at]
	to := Payload{NetworkHeader, 1, 1}
	if name == "TTL" || name == "HL" {
		to.Offset = 8
		if p.v6() {
			to.Offset = 7
		}
	}
	s := Assign{To: to, From: OpaqueValue{Len: 1}, Text: strings.TrimSpace(name + " " + quoteAll(words))}
	if len(words) == 2 && (words[0] == "--ttl-set" || words[0] == "--hl-set") {
		n, err := strconv.ParseUint(words[1], 10, 8)
		if err != nil {
			return errOption(words[1])
		}
		s.From = Const{byte(n)}
	}
	p.add(s)
	return nil
}

// readTouch reads SET.
func readTouch(p *ruleParser, name string) error {
	from := p.at
	p.rest(from)
	words := p.words[from:p.at]
	s := Touch{IPSet: true, Text: strings.TrimSpace(name + " " + quoteAll(words))}
	if len(words) > 1 {
		s.Set = words[1]
	}
	p.add(s)
	return nil
}
