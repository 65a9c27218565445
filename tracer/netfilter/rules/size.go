// SPDX-License-Identifier: Apache-2.0

package rules

// Size is how many bytes a value has in a register of nf_tables; 0 if that is
// not known.
func Size(v Value) int {
	switch v := v.(type) {
	case Payload:
		return v.Len
	case Meta:
		return metaSize(v.Key)
	case CT:
		return ctSize(v)
	case FIB:
		if v.Result == "oifname" && !v.Check {
			return ifNameLen
		}
		return 4
	case Exthdr:
		if v.Present {
			return 1
		}
		return v.Len
	case Const:
		return len(v)
	case Bitwise:
		return len(v.Mask)
	case Shift, Swap:
		return Size(inner(v))
	case Mapped:
		return v.Len
	case OpaqueValue:
		return v.Len
	case Concat:
		n := 0
		for _, part := range v {
			n += (Size(part) + 3) &^ 3
		}
		return n
	}
	return 0
}

func inner(v Value) Value {
	switch v := v.(type) {
	case Shift:
		return v.Of
	case Swap:
		return v.Of
	}
	return nil
}

func metaSize(key string) int {
	switch key {
	case "iifname", "oifname", "ibrname", "obrname", "iifkind", "oifkind":
		return ifNameLen
	case "nfproto", "l4proto", "pkttype", "ipsec":
		return 1
	case "protocol", "iiftype", "oiftype":
		return 2
	}
	return 4
}

func ctSize(v CT) int {
	switch v.Key {
	case "direction", "l3proto", "protocol":
		return 1
	case "proto-src", "proto-dst", "zone":
		return 2
	case "helper":
		return ifNameLen
	}
	if v.Len != 0 {
		return v.Len
	}
	return 4
}
