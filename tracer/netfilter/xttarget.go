// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// xtTargets are the targets whose data this package reads, by name; which
// revisions, each says itself. nil is an answer for others.
func xtTargets() map[string]func(*xt) rules.Stmt {
	return map[string]func(*xt) rules.Stmt{
		"DNAT": readNAT, "SNAT": readNAT, "MASQUERADE": readNAT, "REDIRECT": readNAT, "NETMAP": readNAT,
		"MARK": readSetMark, "CONNMARK": readConnmark, "REJECT": readRejectTarget,
		"LOG": readLog, "NFLOG": readNFLog, "TCPMSS": readTCPMSS, "CHECKSUM": readChecksum,
		"CT": readCT, "NOTRACK": readCT, "TTL": readTTL, "HL": readTTL, "TOS": readTOSTarget, "DSCP": readTOSTarget, "ECN": readTOSTarget,
		"NFQUEUE": readToProgram, "TPROXY": readToProgram, "SET": readSetTarget,
		"AUDIT": readSilent, "TRACE": readSilent, "CLASSIFY": readSilent, "SECMARK": readSilent, "CONNSECMARK": readSilent, "TEE": readSilent,
	}
}

// target decodes a target.
func (x *xt) target() rules.Stmt {
	if read, ok := x.targets[x.kind.name]; ok {
		if s := read(x); s != nil {
			return s
		}
	}
	return rules.Opaque{Text: x.opaque("j"), Target: true}
}

// Flags of a NAT range (NF_NAT_RANGE_*).
const (
	natAddrs      = 1
	natPorts      = 2
	natRandom     = 4
	natPersistent = 8
	natFully      = 16
	natShifted    = 32
)

func natKind(target string) rules.NATKind {
	switch target {
	case "DNAT":
		return rules.DNAT
	case "MASQUERADE":
		return rules.Masquerade
	case "REDIRECT":
		return rules.Redirect
	}
	return rules.SNAT
}

// readNAT reads the three layouts: the old one of IPv4 (a list of one range), and
// nf_nat_range without and with a base port.
func readNAT(x *xt) rules.Stmt {
	b := x.info
	s := rules.NAT{Kind: natKind(x.kind.name), Netmap: x.kind.name == "NETMAP"}
	s.FromHook = s.Netmap
	// The layouts: nf_nat_range2 is of revision 2 (DNAT) and 1 (newer of others).
	var flags uint32
	var low, high, ports []byte
	if !x.v6() && x.kind.rev == 0 {
		if len(b) < 20 || b.u32(0) != 1 {
			return nil
		}
		flags, low, high, ports = b.u32(4), b.cut(8, 4), b.cut(12, 4), b.cut(16, 4)
	} else {
		if len(b) < 40 {
			return nil
		}
		n := 4
		if x.v6() {
			n = 16
		}
		flags, low, high, ports = b.u32(0), b.cut(4, n), b.cut(20, n), b.cut(36, 4)
	}
	if flags&natAddrs != 0 || s.Netmap {
		s.AddrMin = rules.Const(slices.Clone(low))
		if string(high) != string(low) {
			s.AddrMax = rules.Const(slices.Clone(high))
		}
	}
	if flags&natPorts != 0 {
		s.PortMin = rules.Const(slices.Clone(ports[:2]))
		if string(ports[:2]) != string(ports[2:]) {
			s.PortMax = rules.Const(slices.Clone(ports[2:]))
		}
	}
	if flags&natShifted != 0 {
		if x.kind.rev != 2 || len(b) < 42 {
			return nil
		}
		s.Shifted, s.Base = true, binary.BigEndian.Uint16(b.cut(40, 2))
	}
	s.Random, s.Fully, s.Persistent = flags&(natRandom|natFully) != 0, flags&natFully != 0, flags&natPersistent != 0
	if flags&^uint32(natAddrs|natPorts|natRandom|natPersistent|natFully|natShifted|1<<6) != 0 {
		return nil
	}
	return s
}

func readSetMark(x *xt) rules.Stmt {
	if x.kind.rev != 2 || len(x.info) < 8 {
		return nil
	}
	return rules.MarkTo(x.info.u32(0), x.info.u32(4))
}

func readConnmark(x *xt) rules.Stmt {
	b := x.info
	mode := 12
	switch {
	case x.kind.rev == 2 && b.u8(13) == 0: // behind the shift, which nobody uses
		mode = 14
	case x.kind.rev != 1:
		return nil
	}
	if len(b) <= mode {
		return nil
	}
	switch b.u8(mode) {
	case 0:
		return rules.ConnmarkTo(b.u32(0), b.u32(4))
	case 1:
		return rules.Save{CTMask: b.u32(4), PacketMask: b.u32(8)}
	case 2:
		return rules.Save{Restore: true, CTMask: b.u32(4), PacketMask: b.u32(8)}
	}
	return nil
}

// rejects are what REJECT answers, by number (enum ipt_reject_with,
// ip6t_reject_with).
func rejects(v6 bool) []string {
	if v6 {
		return []string{
			"icmp6-no-route", "icmp6-adm-prohibited", "", "icmp6-addr-unreachable", "icmp6-port-unreachable", "",
			"tcp-reset", "icmp6-policy-fail", "icmp6-reject-route",
		}
	}
	return []string{
		"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "",
		"icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited",
	}
}

func readRejectTarget(x *xt) rules.Stmt {
	n, list := int(x.info.u8(0)), rejects(x.v6())
	if len(x.info) < 4 || n >= len(list) {
		return nil
	}
	return rules.RejectWith{With: list[n]}
}

func readLog(x *xt) rules.Stmt {
	if len(x.info) < 32 {
		return nil
	}
	return rules.Note{Target: "LOG", Text: logWords(x.info.text(2, 30), x.info.u8(0), uint32(x.info.u8(1)))}
}

func logWords(prefix string, level uint8, flags uint32) string {
	var words []string
	if prefix != "" {
		words = append(words, "--log-prefix "+quoted(prefix))
	}
	if level != 4 {
		words = append(words, fmt.Sprintf("--log-level %d", level))
	}
	for _, f := range []struct { // XT_LOG_*
		bit  uint32
		word string
	}{{1, "--log-tcp-sequence"}, {2, "--log-tcp-options"}, {4, "--log-ip-options"}, {8, "--log-uid"}, {32, "--log-macdecode"}} {
		if flags&f.bit != 0 {
			words = append(words, f.word)
		}
	}
	return strings.Join(words, " ")
}

// quoted quotes a word as iptables-save does.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t\"\\'[]") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return s
}

func readNFLog(x *xt) rules.Stmt {
	if len(x.info) < 76 {
		return nil
	}
	s := rules.Note{Target: "NFLOG"}
	if p := x.info.text(12, 64); p != "" {
		s.Text = "--nflog-prefix " + quoted(p)
	}
	if g := x.info.u16(4); g != 0 {
		s.Text = strings.TrimSpace(s.Text + fmt.Sprintf(" --nflog-group %d", g))
	}
	return s
}

func readTCPMSS(x *xt) rules.Stmt {
	if len(x.info) < 2 {
		return nil
	}
	s := rules.Note{Target: "TCPMSS", Text: "--clamp-mss-to-pmtu"}
	if mss := x.info.u16(0); mss != 0xffff {
		s.Text = fmt.Sprintf("--set-mss %d", mss)
	}
	return s
}

func readChecksum(*xt) rules.Stmt {
	return rules.Note{Target: "CHECKSUM", Text: "--checksum-fill"}
}

func readSilent(x *xt) rules.Stmt { return rules.Note{Target: x.kind.name} }

func readCT(x *xt) rules.Stmt {
	if x.kind.name == "NOTRACK" {
		return rules.Track{Off: true, Text: "NOTRACK"}
	}
	if len(x.info) < 28 {
		return nil
	}
	switch helper := x.info.text(12, 16); {
	case x.info.u16(0)&1 != 0:
		return rules.Track{Off: true, Text: "CT --notrack"}
	case x.info.u16(2) != 0:
		return nil // zones are another connection table
	case helper != "":
		return rules.Track{Text: "CT --helper " + helper}
	}
	return rules.Track{Text: "CT"}
}

func readTTL(x *xt) rules.Stmt {
	if len(x.info) < 2 {
		return nil
	}
	to := rules.Payload{Base: rules.NetworkHeader, Offset: 8, Len: 1}
	if x.v6() {
		to.Offset = 7
	}
	word := strings.ToLower(x.kind.name)
	modes := [...]string{"set", "inc", "dec"}
	mode := min(int(x.info.u8(0)), len(modes)-1)
	s := rules.Assign{To: to, From: rules.OpaqueValue{Len: 1}}
	s.Text = fmt.Sprintf("%s --%s-%s %d", x.kind.name, word, modes[mode], x.info.u8(1))
	if mode == 0 {
		s.From = rules.Const{x.info.u8(1)}
	}
	return s
}

func readTOSTarget(x *xt) rules.Stmt {
	return rules.Assign{
		To: rules.Payload{Base: rules.NetworkHeader, Offset: 1, Len: 1}, From: rules.OpaqueValue{Len: 1},
		Text: fmt.Sprintf("%s [revision %d]", x.kind.name, x.kind.rev),
	}
}

func readToProgram(x *xt) rules.Stmt {
	s := rules.ToProgram{Text: x.kind.name}
	if x.kind.name == "NFQUEUE" && len(x.info) >= 2 {
		s.Text += fmt.Sprintf(" --queue-num %d", x.info.u16(0))
	}
	return s
}

func readSetTarget(x *xt) rules.Stmt {
	if len(x.info) < 8 {
		return nil
	}
	name := fmt.Sprintf("#%d", x.info.u16(0))
	if x.ipset != nil {
		if n, ok := x.ipset(x.info.u16(0)); ok {
			name = n
		}
	}
	return rules.Touch{Set: name, IPSet: true, Text: "SET --add-set " + name}
}
