// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func parse32(word string) (uint32, error) {
	n, err := strconv.ParseUint(word, 0, 32)
	if err != nil {
		return 0, errOption(word)
	}
	return uint32(n), nil
}

// parseMasked reads VALUE or VALUE/MASK.
func parseMasked(word string) (value, mask uint32, err error) {
	v, m, cut := strings.Cut(word, "/")
	mask = ^uint32(0)
	if value, err = parse32(v); err != nil {
		return 0, 0, err
	}
	if cut {
		mask, err = parse32(m)
	}
	return value, mask, err
}

func readMark(p *ruleParser, name string) (Match, error) {
	m := MarkMatch{Conn: name == "connmark"}
	err := p.each(func(word string, not bool) (err error) {
		if word != "--mark" {
			return errOption(word)
		}
		m.Not = not
		m.Mark, m.Mask, err = parseMasked(p.next())
		return err
	})
	return m, err
}

func readPhysdev(p *ruleParser, _ string) (Match, error) {
	var m Physdev
	dev := func(not bool) Iface {
		name, prefix := strings.CutSuffix(p.next(), "+")
		return Iface{Name: name, Prefix: prefix, Not: not}
	}
	err := p.each(func(word string, not bool) error {
		switch word {
		case "--physdev-in":
			m.AskIn, m.In = true, dev(not)
		case "--physdev-out":
			m.AskOut, m.Out = true, dev(not)
		case "--physdev-is-in":
			m.IsIn = Flag{true, not}
		case "--physdev-is-out":
			m.IsOut = Flag{true, not}
		case "--physdev-is-bridged":
			m.IsBri = Flag{true, not}
		default:
			return errOption(word)
		}
		return nil
	})
	return m, err
}

func readIPSet(p *ruleParser, _ string) (Match, error) {
	var m IPSetMatch
	err := p.each(func(word string, not bool) error {
		switch word {
		case "--match-set":
			m.Not = not
			m.Set = p.next()
			for dir := range strings.SplitSeq(p.next(), ",") {
				m.Src = append(m.Src, dir == "src")
			}
		case "--return-nomatch", "!--update-counters":
			m.More = strings.TrimSpace(m.More + " " + word)
		default:
			return errOption(word)
		}
		return nil
	})
	return m, err
}

func readRecent(p *ruleParser, _ string) (Match, error) {
	m := Recent{List: "DEFAULT", Mask: netip.AddrFrom4([4]byte{255, 255, 255, 255})}
	if p.v6() {
		m.Mask = netip.AddrFrom16([16]byte(slices.Repeat([]byte{0xff}, 16)))
	}
	err := p.each(func(word string, not bool) (err error) {
		switch word {
		case "--set", "--rcheck", "--update", "--remove":
			m.Op, m.Not = word[2:], not
		case "--seconds":
			m.Seconds, err = parse32(p.next())
		case "--hitcount":
			m.Hits, err = parse32(p.next())
		case "--reap":
			m.Reap = true
		case "--rttl":
			m.TTL = true
		case "--name":
			m.List = p.next()
		case "--rsource":
			m.Dest = false
		case "--rdest":
			m.Dest = true
		case "--mask":
			m.Mask, err = netip.ParseAddr(p.next())
		default:
			return errOption(word)
		}
		return err
	})
	return m, err
}

// pktTypes are the names of -m pkttype, by number.
func pktTypes() []string { return []string{"unicast", "broadcast", "multicast"} }

// pktTypeName is the name of a number; whatever has none is taken for the last.
func pktTypeName(n uint8) string {
	names := pktTypes()
	return names[min(int(n), len(names)-1)]
}

func readPktType(p *ruleParser, _ string) (Match, error) {
	var m PktType
	err := p.each(func(word string, not bool) error {
		i := slices.Index(pktTypes(), p.next())
		if word != "--pkt-type" || i < 0 {
			return errOption(word)
		}
		m.Type, m.Not = uint8(i), not //nolint:gosec // below 3
		return nil
	})
	return m, err
}

func readMAC(p *ruleParser, _ string) (Match, error) {
	var m MAC
	err := p.each(func(word string, not bool) error {
		hw, err := net.ParseMAC(p.next())
		if word != "--mac-source" || err != nil || len(hw) != 6 {
			return errOption(word)
		}
		m.Addr, m.Not = [6]byte(hw), not
		return nil
	})
	return m, err
}

func readIPRange(p *ruleParser, _ string) (Match, error) {
	var m IPRange
	err := p.each(func(word string, not bool) error {
		first, last, cut := strings.Cut(p.next(), "-")
		if !cut {
			last = first
		}
		a, err1 := netip.ParseAddr(first)
		b, err2 := netip.ParseAddr(last)
		switch {
		case err1 != nil || err2 != nil || a.Is4() != b.Is4():
			return errOption(word)
		case word == "--src-range":
			m.Src, m.AskSrc, m.NotSrc = AddrRange{a, b}, true, not
		case word == "--dst-range":
			m.Dst, m.AskDst, m.NotDst = AddrRange{a, b}, true, not
		default:
			return errOption(word)
		}
		return nil
	})
	return m, err
}

func readHopLimit(p *ruleParser, name string) (Match, error) {
	m := HopLimit{V6: name == "hl"}
	err := p.each(func(word string, not bool) error {
		_, op, _ := strings.Cut(strings.TrimPrefix(word, "--"), "-")
		n, err := strconv.ParseUint(p.next(), 10, 8)
		if err != nil || !slices.Contains([]string{"eq", "lt", "gt"}, op) {
			return errOption(word)
		}
		if not && op == "eq" {
			op = "ne"
		} else if not {
			return errOption(word)
		}
		m.Op, m.Value = op, uint8(n)
		return nil
	})
	return m, err
}

func readDSCP(p *ruleParser, _ string) (Match, error) {
	var m DSCP
	err := p.each(func(word string, not bool) error {
		n, err := parse32(p.next())
		if word != "--dscp" || err != nil || n > 0x3f {
			return errOption(word)
		}
		m.Value, m.Not = uint8(n), not
		return nil
	})
	return m, err
}

func readTOS(p *ruleParser, _ string) (Match, error) {
	var m TOS
	err := p.each(func(word string, not bool) error {
		v, mask, err := parseMasked(p.next())
		if word != "--tos" || err != nil || v > 0xff {
			return errOption(word)
		}
		m.Value, m.Mask, m.Not = uint8(v), uint8(mask), not //nolint:gosec // a mask of 32 ones stands for all 8
		return nil
	})
	return m, err
}

func readLength(p *ruleParser, _ string) (Match, error) {
	var m Length
	err := p.each(func(word string, not bool) error {
		r, err := parsePorts(p.next())
		if word != "--length" || err != nil {
			return errOption(word)
		}
		m.Min, m.Max, m.Not = r.First, r.Last, not
		return nil
	})
	return m, err
}

func readRPFilter(p *ruleParser, _ string) (Match, error) {
	var m RPFilter
	err := p.each(func(word string, _ bool) error {
		switch word {
		case "--loose":
			m.Loose = true
		case "--validmark":
			m.ValidMark = true
		case "--accept-local":
			m.AcceptLocal = true
		case "--invert":
			m.Invert = true
		default:
			return errOption(word)
		}
		return nil
	})
	return m, err
}

// readRT keeps the words: a Packet has no routing header.
func readRT(p *ruleParser, _ string) (Match, error) {
	from := p.at
	p.rest(from)
	return RoutingHeader{Text: quoteAll(p.words[from:p.at])}, nil
}

func readPolicy(p *ruleParser, _ string) (Match, error) {
	from := p.at
	var m Policy
	p.rest(from)
	words := p.words[from:p.at]
	for i, w := range words {
		switch {
		case w == "--dir" && i+1 < len(words):
			m.Out = words[i+1] == "out"
		case w == "--pol" && i+1 < len(words):
			m.None = words[i+1] == "none"
		case w == "--strict":
			m.Strict = true
		}
	}
	m.Text = quoteAll(words)
	return m, nil
}

func readOwner(p *ruleParser, _ string) (Match, error) {
	var m Owner
	ids := func() (lo, hi uint32, err error) {
		first, last, cut := strings.Cut(p.next(), "-")
		if lo, err = parse32(first); err != nil {
			return 0, 0, err
		}
		hi = lo
		if cut {
			hi, err = parse32(last)
		}
		return lo, hi, err
	}
	err := p.each(func(word string, not bool) (err error) {
		switch word {
		case "--uid-owner":
			m.AskUID, m.NotUID = true, not
			m.UIDMin, m.UIDMax, err = ids()
		case "--gid-owner":
			m.AskGID, m.NotGID = true, not
			m.GIDMin, m.GIDMax, err = ids()
		case "--socket-exists":
			m.AskSocket, m.NotSocket = true, not
		default:
			return errOption(word)
		}
		return err
	})
	return m, err
}

// readRate keeps the words: how much came before is not known.
func readRate(p *ruleParser, name string) (Match, error) {
	from := p.at
	p.rest(from)
	words := p.words[from:p.at]
	m := XTRate{Text: name + " " + quoteAll(words)}
	m.Over = slices.Contains(words, "--hashlimit-above") || slices.Contains(words, "--connlimit-above")
	return m, nil
}

func readComment(p *ruleParser, _ string) (Match, error) {
	var m Comment
	err := p.each(func(word string, _ bool) error {
		if word != "--comment" {
			return errOption(word)
		}
		m.Text = p.next()
		return nil
	})
	return m, err
}
