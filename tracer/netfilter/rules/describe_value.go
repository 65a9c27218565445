// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// value writes the left side of a condition.
func (w *nftWriter) value(v Value) string {
	switch v := v.(type) {
	case Payload:
		return w.payload(v)
	case Meta:
		switch v.Key {
		case "iifname", "oifname", "iif", "oif":
			return v.Key
		}
		return "meta " + v.Key
	case CT:
		return strings.Join(strings.Fields("ct "+v.Dir+" "+v.Key), " ")
	case FIB:
		return v.words()
	case Exthdr:
		kind := map[uint8]string{0: "exthdr", 1: "tcp option"}[v.Op]
		return fmt.Sprintf("%s %d@%d,%d", kind, v.Type, v.Offset*8, v.Len*8)
	case Const:
		return fmt.Sprintf("0x%x", []byte(v))
	case Bitwise:
		s := fmt.Sprintf("%s & %s", w.value(v.Of), w.constant(v.Of, v.Mask))
		if strings.Trim(string(v.Xor), "\x00") != "" {
			s += " ^ " + w.constant(v.Of, v.Xor)
		}
		return s
	case Shift:
		return fmt.Sprintf("%s %s %d", w.value(v.Of), map[bool]string{true: "<<", false: ">>"}[v.Left], v.Bits)
	case Swap:
		return w.value(v.Of)
	case Mapped:
		return fmt.Sprintf("%s map %s", w.value(v.Of), w.setWords(v.Of, v.Set))
	case Concat:
		var parts []string
		for _, part := range v {
			parts = append(parts, w.value(part))
		}
		return strings.Join(parts, " . ")
	case OpaqueValue:
		return v.Text
	}
	return "?"
}

func (f FIB) words() string {
	var keys []string
	for _, k := range []struct {
		on   bool
		name string
	}{{f.Saddr, "saddr"}, {f.Daddr, "daddr"}, {f.Mark, "mark"}, {f.IIF, "iif"}, {f.OIF, "oif"}} {
		if k.on {
			keys = append(keys, k.name)
		}
	}
	return "fib " + strings.Join(keys, " . ") + " " + f.Result + map[bool]string{true: " check"}[f.Check]
}

// payload writes a header's field.
func (w *nftWriter) payload(v Payload) string {
	at := [2]int{v.Offset, v.Len}
	switch {
	case v.Base == NetworkHeader && w.v6:
		if name, ok := map[[2]int]string{{8, 16}: "saddr", {24, 16}: "daddr", {6, 1}: "nexthdr", {7, 1}: "hoplimit", {4, 2}: "length"}[at]; ok {
			return "ip6 " + name
		}
		if isAddr(v, true) {
			return map[int]string{8: "ip6 saddr", 24: "ip6 daddr"}[v.Offset]
		}
	case v.Base == NetworkHeader:
		if name, ok := map[[2]int]string{
			{12, 4}: "saddr", {16, 4}: "daddr", {9, 1}: "protocol", {8, 1}: "ttl", {2, 2}: "length", {1, 1}: "dscp", {6, 2}: "frag-off",
		}[at]; ok {
			return "ip " + name
		}
		if isAddr(v, false) {
			return map[int]string{12: "ip saddr", 16: "ip daddr"}[v.Offset]
		}
	case v.Base == TransportHeader:
		if s := w.transportWords(v); s != "" {
			return s
		}
	case v.Base == LinkHeader:
		if name, ok := map[[2]int]string{{0, 6}: "daddr", {6, 6}: "saddr", {12, 2}: "type"}[at]; ok {
			return "ether " + name
		}
	}
	base := [...]string{"ll", "nh", "th", "ih"}[min(int(v.Base), 3)]
	return fmt.Sprintf("@%s,%d,%d", base, v.Offset*8, v.Len*8)
}

func (w *nftWriter) transportWords(v Payload) string {
	at := [2]int{v.Offset, v.Len}
	switch w.proto {
	case ICMP, ICMPv6:
		name := map[uint8]string{ICMP: "icmp", ICMPv6: "icmpv6"}[w.proto]
		switch at {
		case [2]int{0, 1}:
			return name + " type"
		case [2]int{1, 1}:
			return name + " code"
		}
		return ""
	}
	name := "th"
	if protoHeader(w.proto) {
		name = protocolName(w.proto)
	}
	switch at {
	case [2]int{0, 2}:
		return name + " sport"
	case [2]int{2, 2}:
		return name + " dport"
	case [2]int{13, 1}:
		if w.proto == TCP {
			return "tcp flags"
		}
	}
	return ""
}

// constant writes a value in the way of what it is compared with.
func (w *nftWriter) constant(like Value, b []byte) string {
	switch v := like.(type) {
	case Payload:
		return w.payloadConst(v, b)
	case Meta:
		return metaConst(v.Key, b)
	case CT:
		return ctConst(v, b)
	case FIB:
		if v.Check {
			return map[bool]string{true: "exists", false: "missing"}[strings.Trim(string(b), "\x00") != ""]
		}
		if v.Result == "type" && len(b) == 4 {
			names := routeNames()
			return strings.ToLower(names[min(int(binary.NativeEndian.Uint32(b)), len(names)-1)])
		}
	case Bitwise:
		return w.constant(v.Of, b)
	case Swap:
		return fmt.Sprint(bigNumber(b))
	case Concat:
		return w.concatConst(v, b)
	}
	return fmt.Sprintf("0x%x", b)
}

func (w *nftWriter) concatConst(v Concat, b []byte) string {
	var parts []string
	for _, part := range v {
		n := Size(part)
		if n == 0 || n > len(b) {
			return fmt.Sprintf("0x%x", b)
		}
		parts = append(parts, w.constant(part, b[:n]))
		b = b[min(len(b), (n+3)&^3):]
	}
	return strings.Join(parts, " . ")
}

func bigNumber(b []byte) uint64 {
	var n uint64
	for _, v := range b {
		n = n<<8 | uint64(v)
	}
	return n
}

func (w *nftWriter) payloadConst(v Payload, b []byte) string {
	switch {
	case isAddr(v, w.v6):
		return w.addrConst(b)
	case v.Base == LinkHeader && v.Len == 6:
		return net.HardwareAddr(b).String()
	case v.Base == TransportHeader && v.Offset == 13 && w.proto == TCP && len(b) == 1:
		return strings.ToLower(flagWords(b[0]))
	case len(b) == 1 && isProto(v, w.v6):
		return protocolName(b[0])
	case v.Len <= 4:
		return fmt.Sprint(bigNumber(b))
	}
	return fmt.Sprintf("0x%x", b)
}

// addrConst writes an address, or as much as is there of one.
func (w *nftWriter) addrConst(b []byte) string {
	size := 4
	if w.v6 {
		size = 16
	}
	if len(b) < size {
		return addrWords(b, nil, size)
	}
	a, _ := netip.AddrFromSlice(b[:size])
	return a.String()
}

func metaConst(key string, b []byte) string {
	switch key {
	case "iifname", "oifname":
		name, _, whole := strings.Cut(string(b), "\x00")
		if !whole && len(b) < ifNameLen {
			name += "*"
		}
		return `"` + name + `"`
	case "l4proto":
		if len(b) == 1 {
			return protocolName(b[0])
		}
	case "nfproto":
		if len(b) == 1 {
			return map[byte]string{2: "ipv4", 10: "ipv6"}[b[0]]
		}
	case "protocol":
		return map[uint64]string{0x800: "ip", 0x86dd: "ip6", 0x806: "arp"}[bigNumber(b)]
	case "pkttype":
		if len(b) == 1 && int(b[0]) < len(pktTypes()) {
			return map[byte]string{0: "host", 1: "broadcast", 2: "multicast"}[b[0]]
		}
	case "mark":
		if len(b) == 4 {
			return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
		}
	}
	if len(b) == 4 {
		return fmt.Sprint(binary.NativeEndian.Uint32(b))
	}
	return fmt.Sprintf("0x%x", b)
}

func ctConst(v CT, b []byte) string {
	if len(b) == 4 && (v.Key == "state" || v.Key == "status") {
		return ctBits(v.Key, binary.NativeEndian.Uint32(b))
	}
	switch {
	case v.Key == "direction" && len(b) == 1:
		return map[byte]string{0: "original", 1: "reply"}[b[0]]
	case v.Key == "mark" && len(b) == 4:
		return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
	case (v.Key == "saddr" || v.Key == "daddr") && (len(b) == 4 || len(b) == 16):
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case strings.HasPrefix(v.Key, "proto-"):
		return fmt.Sprint(bigNumber(b))
	}
	return fmt.Sprintf("0x%x", b)
}

// ctBits writes states, or the bits of a connection's status.
func ctBits(key string, bits uint32) string {
	names := []string{"expected", "seen-reply", "assured", "confirmed", "snat", "dnat"}
	if key == "state" {
		names = []string{"invalid", "established", "related", "new", "", "", "untracked"}
	}
	var list []string
	for i, n := range names {
		if bits&(1<<i) != 0 && n != "" {
			list = append(list, n)
		}
	}
	if list == nil {
		return fmt.Sprintf("0x%x", bits)
	}
	return strings.Join(list, ",")
}

// setWords writes a set: by name, or what it holds.
func (w *nftWriter) setWords(like Value, name string) string {
	set := w.set.Sets[SetKey{w.chain.Family, w.chain.Table, name}]
	if set == nil || !set.Anonymous {
		return "@" + name
	}
	var list []string
	for i := range set.Elems {
		list = append(list, w.element(like, &set.Elems[i]))
	}
	if set.CatchAll != nil {
		list = append(list, "*"+elementData(set.CatchAll))
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

func (w *nftWriter) element(like Value, e *Element) string {
	s := w.constant(like, e.Key)
	if string(e.Key) != string(e.End) {
		if prefix := w.rangePrefix(like, e); prefix != "" {
			s = prefix
		} else {
			s += "-" + w.constant(like, e.End)
		}
	}
	return s + elementData(e)
}

// rangePrefix writes a range of addresses that is a prefix as one.
func (w *nftWriter) rangePrefix(like Value, e *Element) string {
	p, ok := like.(Payload)
	if !ok || !isAddr(p, w.v6) || len(e.Key) != len(e.End) {
		return ""
	}
	mask := make([]byte, len(e.Key))
	bits := 0
	for i := range mask {
		mask[i] = ^(e.Key[i] ^ e.End[i])
		for m := mask[i]; m&0x80 != 0; m <<= 1 {
			bits++
		}
	}
	if !prefixMask(mask, bits) {
		return ""
	}
	return addrWords(e.Key, mask, len(mask))
}

func elementData(e *Element) string {
	switch {
	case e.Jump != nil:
		return " : " + goNFT(*e.Jump)
	case len(e.Data) == 4 || len(e.Data) == 16:
		if a, ok := netip.AddrFromSlice(e.Data); ok {
			return " : " + a.String()
		}
	case len(e.Data) > 0:
		return fmt.Sprintf(" : 0x%x", e.Data)
	}
	return ""
}
