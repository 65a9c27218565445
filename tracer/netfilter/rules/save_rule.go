// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ruleParser reads the words of one rule behind its chain.
type ruleParser struct {
	family string
	words  []string
	at     int
	not    bool // "!" stands before the word
	proto  uint8
	stmts  []Stmt
	*wordReaders
}

func (p *ruleParser) v6() bool { return p.family == "ip6" }

// next returns the next word; "" at the end.
func (p *ruleParser) next() string {
	if p.at >= len(p.words) {
		return ""
	}
	p.at++
	return p.words[p.at-1]
}

func (p *ruleParser) peek() string {
	if p.at >= len(p.words) {
		return ""
	}
	return p.words[p.at]
}

func (p *ruleParser) add(s Stmt) { p.stmts = append(p.stmts, s) }

func (p *ruleParser) parse() error {
	for p.at < len(p.words) {
		if err := p.option(); err != nil {
			return err
		}
	}
	return nil
}

// option reads one of a rule's own options, or a whole match or target.
func (p *ruleParser) option() error {
	p.not = false
	word := p.next()
	if word == "!" {
		p.not = true
		word = p.next()
	}
	switch word {
	case "-s", "-d":
		return p.address(word == "-s")
	case "-i":
		p.device("iifname")
	case "-o":
		p.device("oifname")
	case "-p":
		p.protocol()
	case "-f":
		p.add(CompareFragment(p.not))
	case "-m":
		p.module()
	case "-j", "-g":
		return p.jump(word == "-g")
	default:
		return fmt.Errorf("%w: option %q", ErrSyntax, word)
	}
	return nil
}

func cmpOp(not bool) Op {
	if not {
		return NE
	}
	return EQ
}

func (p *ruleParser) address(src bool) error {
	prefix, err := parsePrefix(p.next())
	if err != nil {
		return err
	}
	p.add(addressStmt(src, p.not, prefix.Addr().AsSlice(), maskOf(prefix)))
	return nil
}

// addressStmt compares an address under a mask.
func addressStmt(src, not bool, addr, mask []byte) Stmt {
	v := Payload{NetworkHeader, 16, 4}
	switch {
	case len(addr) == 16 && src:
		v = Payload{NetworkHeader, 8, 16}
	case len(addr) == 16:
		v = Payload{NetworkHeader, 24, 16}
	case src:
		v.Offset = 12
	}
	if allOnes(mask) {
		return Compare{v, cmpOp(not), addr}
	}
	masked := make([]byte, len(addr))
	for i := range masked {
		masked[i] = addr[i] & mask[i]
	}
	return Compare{Bitwise{v, mask, make([]byte, len(mask))}, cmpOp(not), masked}
}

func allOnes(b []byte) bool {
	for _, v := range b {
		if v != 0xff {
			return false
		}
	}
	return true
}

func maskOf(p netip.Prefix) []byte {
	mask := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// parsePrefix reads ADDR, ADDR/LEN or, of IPv4, ADDR/MASK.
func parsePrefix(word string) (netip.Prefix, error) {
	addr, length, cut := strings.Cut(word, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%w: address %q", ErrSyntax, word)
	}
	if !cut {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if mask, err := netip.ParseAddr(length); err == nil && mask.Is4() && a.Is4() {
		m := mask.As4()
		n := binary.BigEndian.Uint32(m[:])
		bits := 0
		for ; bits < 32 && n&(1<<(31-bits)) != 0; bits++ {
		}
		if n<<bits != 0 {
			return netip.Prefix{}, fmt.Errorf("%w: mask %q", ErrSyntax, word)
		}
		return netip.PrefixFrom(a, bits), nil
	}
	bits, err := strconv.Atoi(length)
	if err != nil || bits < 0 || bits > a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%w: address %q", ErrSyntax, word)
	}
	return netip.PrefixFrom(a, bits), nil
}

func (p *ruleParser) device(key string) {
	p.add(deviceStmt(key, p.not, p.next()))
}

// deviceStmt compares a device's name; "+" at its end stands for any rest.
func deviceStmt(key string, not bool, name string) Stmt {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return Compare{Meta{key}, cmpOp(not), []byte(prefix)}
	}
	b, _ := name16(name)
	return Compare{Meta{key}, cmpOp(not), b}
}

func (p *ruleParser) protocol() {
	name := p.next()
	switch n, err := protocolNumber(name); {
	case err != nil:
		p.add(Test{XTOpaque{bang(p.not, "-p "+name)}})
	case n != 0:
		p.proto = n
		p.add(Compare{Meta{"l4proto"}, cmpOp(p.not), []byte{n}})
	}
}

// protocols are the names that iptables writes.
func protocols() map[string]uint8 {
	return map[string]uint8{
		"all": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
		"eigrp": 88, "ospf": 89, "etherip": 97, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115,
		"ipv6-icmp": 58, "icmpv6": 58, "sctp": 132, "mh": 135, "ipv6-mh": 135, "udplite": 136,
	}
}

func protocolNumber(word string) (uint8, error) {
	if n, ok := protocols()[word]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(word, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%w: protocol %q", ErrSyntax, word)
	}
	return uint8(n), nil
}

func protocolName(n uint8) string {
	switch n {
	case 58:
		return "ipv6-icmp"
	case 135:
		return "135"
	}
	for name, number := range protocols() {
		if number == n && name != "all" && name != "icmpv6" {
			return name
		}
	}
	return strconv.Itoa(int(n))
}

// more tells whether the next word still belongs to a match or target, and takes
// it, with its "!".
func (p *ruleParser) more() (word string, not, ok bool) {
	at := p.at
	word = p.next()
	if word == "!" {
		not = true
		word = p.next()
	}
	if !strings.HasPrefix(word, "--") {
		p.at = at
		return "", false, false
	}
	return word, not, true
}

// rest takes all words of a match or target: what is not known is kept as text.
func (p *ruleParser) rest(from int) string {
	for p.at < len(p.words) {
		switch p.peek() {
		case "-m", "-j", "-g", "-s", "-d", "-i", "-o", "-p", "-f":
			return quoteAll(p.words[from:p.at])
		case "!":
			if p.at+1 < len(p.words) && !strings.HasPrefix(p.words[p.at+1], "--") {
				return quoteAll(p.words[from:p.at])
			}
		}
		p.at++
	}
	return quoteAll(p.words[from:p.at])
}

func quoteAll(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quote(w)
	}
	return strings.Join(out, " ")
}

// quote writes a word as iptables-save does.
func quote(w string) string {
	for _, r := range w {
		if !strings.ContainsRune("-_./:,%@+=[]!", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(w) + `"`
		}
	}
	if w == "" {
		return `""`
	}
	return w
}

// CompareAddr is the condition of -s or -d: an address under a mask.
func CompareAddr(src, not bool, addr, mask []byte) Stmt { return addressStmt(src, not, addr, mask) }

// CompareDevice is the condition of -i (iifname) or -o (oifname); "+" at the
// name's end stands for any rest.
func CompareDevice(key string, not bool, name string) Stmt { return deviceStmt(key, not, name) }

// CompareFragment is the condition of -f: a packet that is not the first part.
func CompareFragment(not bool) Stmt {
	return Compare{Bitwise{Payload{NetworkHeader, 6, 2}, []byte{0x1f, 0xff}, []byte{0, 0}}, cmpOp(!not), []byte{0, 0}}
}
