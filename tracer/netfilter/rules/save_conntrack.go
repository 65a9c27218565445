// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strconv"
	"strings"
)

// bitName is a bit of a set, and the word for it.
type bitName struct {
	name string
	bit  uint16
}

// ctStateNames are the states of -m conntrack, in the order in which
// iptables-save writes them.
func ctStateNames() []bitName {
	return []bitName{
		{"INVALID", CTStateInvalid},
		{"NEW", CTStateNew},
		{"RELATED", CTStateRelated},
		{"ESTABLISHED", CTStateEstablished},
		{"UNTRACKED", CTStateUntracked},
		{"SNAT", CTStateSNAT},
		{"DNAT", CTStateDNAT},
	}
}

// ctStatusNames are the bits of --ctstatus.
func ctStatusNames() []bitName {
	return []bitName{
		{"EXPECTED", StatusExpected}, {"SEEN_REPLY", StatusSeenReply}, {"ASSURED", StatusAssured}, {"CONFIRMED", StatusConfirmed},
	}
}

func parseBits(word string, names []bitName) (uint16, error) {
	var bits uint16
	for name := range strings.SplitSeq(word, ",") {
		found := name == "NONE"
		for _, n := range names {
			if n.name == name {
				bits |= n.bit
				found = true
			}
		}
		if !found {
			return 0, errOption(name)
		}
	}
	return bits, nil
}

func readState(p *ruleParser, _ string) (Match, error) {
	m := Conntrack{StateMatch: true, Asked: CTState}
	err := p.each(func(word string, not bool) (err error) {
		if word != "--state" {
			return errOption(word)
		}
		if not {
			m.Inverted = CTState
		}
		m.State, err = parseBits(p.next(), ctStateNames())
		return err
	})
	return m, err
}

func readConntrack(p *ruleParser, _ string) (Match, error) {
	var m Conntrack
	err := p.each(func(word string, not bool) error {
		bit, err := m.option(word, p)
		if err != nil {
			return err
		}
		m.Asked |= bit
		if not != (word == "--ctdir" && m.Inverted&CTDirection != 0) {
			m.Inverted |= bit
		} else {
			m.Inverted &^= bit
		}
		return nil
	})
	return m, err
}

// option reads one option of -m conntrack, and returns its bit.
func (m *Conntrack) option(word string, p *ruleParser) (bit uint16, err error) {
	switch word {
	case "--ctstate":
		m.State, err = parseBits(p.next(), ctStateNames())
		return CTState, err
	case "--ctstatus":
		m.Status, err = parseBits(p.next(), ctStatusNames())
		return CTStatus, err
	case "--ctproto":
		n, err := protocolNumber(p.next())
		m.Proto = uint16(n)
		return CTProto, err
	case "--ctexpire":
		low, high, ok := strings.Cut(p.next(), ":")
		a, err := strconv.ParseUint(low, 10, 32)
		m.ExpiresMin, m.ExpiresMax = uint32(a), uint32(a)
		if ok && err == nil {
			a, err = strconv.ParseUint(high, 10, 32)
			m.ExpiresMax = uint32(a)
		}
		return CTExpires, err
	case "--ctdir":
		if p.next() == "REPLY" {
			m.Inverted |= CTDirection
		}
		return CTDirection, nil
	}
	return m.tupleOption(word, p)
}

func (m *Conntrack) tupleOption(word string, p *ruleParser) (bit uint16, err error) {
	prefixes := map[string]struct {
		bit uint16
		to  *netip.Prefix
	}{
		"--ctorigsrc": {CTOrigSrc, &m.OrigSrc}, "--ctorigdst": {CTOrigDst, &m.OrigDst},
		"--ctreplsrc": {CTReplSrc, &m.ReplSrc}, "--ctrepldst": {CTReplDst, &m.ReplDst},
	}
	if one, ok := prefixes[word]; ok {
		*one.to, err = parsePrefix(p.next())
		return one.bit, err
	}
	ports := map[string]struct {
		bit uint16
		to  *PortRange
	}{
		"--ctorigsrcport": {CTOrigSrcPort, &m.OrigSrcPort}, "--ctorigdstport": {CTOrigDstPort, &m.OrigDstPort},
		"--ctreplsrcport": {CTReplSrcPort, &m.ReplSrcPort}, "--ctrepldstport": {CTReplDstPort, &m.ReplDstPort},
	}
	if one, ok := ports[word]; ok {
		*one.to, err = parsePorts(p.next())
		return one.bit, err
	}
	return 0, errOption(word)
}
