// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// module reads a match: "-m NAME --option ...". A match or an option that is not
// known makes the match opaque, and only it.
func (p *ruleParser) module() {
	from := p.at - 1
	name := p.next()
	read, ok := p.matches[name]
	if !ok {
		p.add(Test{XTOpaque{p.rest(from)}})
		return
	}
	at := len(p.stmts)
	switch m, err := read(p, name); {
	case err != nil:
		p.stmts = p.stmts[:at]
		p.add(Test{XTOpaque{p.rest(from)}})
	case m != nil:
		p.add(Test{m})
	}
}

// wordReaders read the options of matches and targets, by name.
type wordReaders struct {
	matches map[string]func(*ruleParser, string) (Match, error)
	targets map[string]func(*ruleParser, string) error
}

func newWordReaders() *wordReaders {
	return &wordReaders{
		matches: map[string]func(*ruleParser, string) (Match, error){
			"tcp": readPorts, "udp": readPorts, "udplite": readPorts, "sctp": readPorts, "dccp": readPorts,
			"multiport": readMultiport, "icmp": readICMP, "icmp6": readICMP,
			"addrtype": readAddrType, "conntrack": readConntrack, "state": readState,
			"mark": readMark, "connmark": readMark, "physdev": readPhysdev, "set": readIPSet,
			"recent": readRecent, "pkttype": readPktType, "mac": readMAC, "iprange": readIPRange,
			"ttl": readHopLimit, "hl": readHopLimit, "dscp": readDSCP, "tos": readTOS, "length": readLength,
			"rpfilter": readRPFilter, "rt": readRT, "policy": readPolicy, "owner": readOwner, "u32": readU32,
			"limit": readRate, "hashlimit": readRate, "connlimit": readRate, "comment": readComment,
		},
		targets: map[string]func(*ruleParser, string) error{
			"DNAT": readNAT, "SNAT": readNAT, "MASQUERADE": readNAT, "REDIRECT": readNAT, "NETMAP": readNAT,
			"MARK": readSetMark, "CONNMARK": readConnmark, "REJECT": readReject,
			"LOG": readNote, "NFLOG": readNote, "ULOG": readNote, "AUDIT": readNote, "CHECKSUM": readNote, "TCPMSS": readNote,
			"TRACE": readNote, "CLASSIFY": readNote, "SECMARK": readNote, "CONNSECMARK": readNote, "TEE": readNote,
			"SET": readTouch, "CT": readTrack, "NOTRACK": readTrack, "NFQUEUE": readProgram, "TPROXY": readProgram,
			"TTL": readSpoil, "HL": readSpoil, "TOS": readSpoil, "DSCP": readSpoil, "ECN": readSpoil,
		},
	}
}

// errOption says that an option of a match is not known.
func errOption(word string) error { return fmt.Errorf("%w: option %q", ErrSyntax, word) }

// each calls fn with each option of the match that is being read.
func (p *ruleParser) each(fn func(word string, not bool) error) error {
	for {
		word, not, ok := p.more()
		if !ok {
			return nil
		}
		if err := fn(word, not); err != nil {
			return err
		}
	}
}

func readPorts(p *ruleParser, name string) (Match, error) {
	proto, err := protocolNumber(name)
	if err != nil {
		return nil, err
	}
	m := Ports{Proto: proto, Src: AnyPort(), Dst: AnyPort()}
	err = p.each(func(word string, not bool) (err error) {
		switch word {
		case "--sport":
			m.NotSrc = not
			m.Src, err = parsePorts(p.next())
		case "--dport":
			m.NotDst = not
			m.Dst, err = parsePorts(p.next())
		case "--tcp-flags":
			m.NotFlags = not
			if m.FlagMask, err = parseFlags(p.next()); err == nil {
				m.FlagComp, err = parseFlags(p.next())
			}
		case "--syn":
			m.NotFlags, m.FlagMask, m.FlagComp = not, FIN|SYN|RST|ACK, SYN
		case "--tcp-option":
			m.NotOption = not
			var n uint64
			n, err = strconv.ParseUint(p.next(), 10, 8)
			m.Option = uint8(n)
		default:
			return errOption(word)
		}
		return err
	})
	return m, err
}

// parsePorts reads N, N:M, N: or :M.
func parsePorts(word string) (PortRange, error) {
	first, last, ranged := strings.Cut(word, ":")
	r := AnyPort()
	var err error
	if first != "" {
		if r.First, err = parsePort(first); err != nil {
			return r, err
		}
	}
	switch {
	case !ranged:
		r.Last = r.First
	case last != "":
		r.Last, err = parsePort(last)
	}
	return r, err
}

func parsePort(word string) (uint16, error) {
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: port %q", ErrSyntax, word)
	}
	return uint16(n), nil
}

// flagNames are TCP's flags, by bit.
func flagNames() [6]string { return [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} }

func parseFlags(word string) (uint8, error) {
	var bits uint8
	for name := range strings.SplitSeq(word, ",") {
		switch name {
		case "ALL":
			bits |= 0x3f
			continue
		case "NONE":
			continue
		}
		found := false
		for i, n := range flagNames() {
			if n == name {
				bits |= 1 << i
				found = true
			}
		}
		if !found {
			return 0, fmt.Errorf("%w: TCP flags %q", ErrSyntax, word)
		}
	}
	return bits, nil
}

func readMultiport(p *ruleParser, _ string) (Match, error) {
	var m Multiport
	err := p.each(func(word string, not bool) error {
		m.Src = word == "--sports" || word == "--ports"
		m.Dst = word == "--dports" || word == "--ports"
		if !m.Src && !m.Dst {
			return errOption(word)
		}
		m.Not = not
		for one := range strings.SplitSeq(p.next(), ",") {
			r, err := parsePorts(one)
			if err != nil {
				return err
			}
			m.Ports = append(m.Ports, r)
		}
		return nil
	})
	return m, err
}

// icmpNumber is a type that rules are written with by name; iptables-save writes
// numbers.
func icmpNumber(v6 bool, name string) (uint8, bool) {
	names := map[string]uint8{
		"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "echo-request": 8, "time-exceeded": 11, "parameter-problem": 12,
	}
	if v6 {
		names = map[string]uint8{
			"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
			"echo-request": 128, "echo-reply": 129, "router-solicitation": 133, "router-advertisement": 134,
			"neighbour-solicitation": 135, "neighbor-solicitation": 135, "neighbour-advertisement": 136, "neighbor-advertisement": 136,
		}
	}
	n, ok := names[name]
	return n, ok
}

func readICMP(p *ruleParser, name string) (Match, error) {
	m := ICMPType{V6: name == "icmp6", CodeMax: 0xff}
	if !m.V6 {
		m.Type = 0xff
	}
	err := p.each(func(word string, not bool) error {
		if word != "--icmp-type" && word != "--icmpv6-type" {
			return errOption(word)
		}
		m.Not = not
		typ, code, coded := strings.Cut(p.next(), "/")
		if n, ok := icmpNumber(m.V6, typ); ok {
			m.Type = n
			return nil
		}
		if typ == "any" {
			return nil
		}
		n, err := strconv.ParseUint(typ, 10, 8)
		if err != nil {
			return errOption(typ)
		}
		m.Type = uint8(n)
		if coded {
			n, err := strconv.ParseUint(code, 10, 8)
			if err != nil {
				return errOption(code)
			}
			m.CodeMin, m.CodeMax = uint8(n), uint8(n)
		}
		return nil
	})
	return m, err
}

// routeNames are the types of addresses that addrtype knows.
func routeNames() [12]string {
	return [...]string{
		"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST",
		"BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE",
	}
}

func readAddrType(p *ruleParser, _ string) (Match, error) {
	var m AddrType
	err := p.each(func(word string, not bool) (err error) {
		switch word {
		case "--src-type":
			m.NotSrc = not
			m.Src, err = parseTypes(p.next())
		case "--dst-type":
			m.NotDst = not
			m.Dst, err = parseTypes(p.next())
		case "--limit-iface-in":
			m.LimitIn = true
		case "--limit-iface-out":
			m.LimitOut = true
		default:
			return errOption(word)
		}
		return err
	})
	return m, err
}

func parseTypes(word string) (uint16, error) {
	var bits uint16
	for name := range strings.SplitSeq(word, ",") {
		found := false
		for i, n := range routeNames() {
			if n == name {
				bits |= 1 << i
				found = true
			}
		}
		if !found {
			return 0, errOption(name)
		}
	}
	return bits, nil
}
