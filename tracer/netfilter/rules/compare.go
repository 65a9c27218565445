// SPDX-License-Identifier: Apache-2.0

package rules

import "bytes"

// compare compares as many bytes as the rule gives, as the kernel does.
func compare(left []byte, op Op, right []byte) bool {
	if len(left) > len(right) {
		left = left[:len(right)]
	}
	c := bytes.Compare(left, right)
	switch op {
	case EQ:
		return c == 0
	case NE:
		return c != 0
	case LT:
		return c < 0
	case LE:
		return c <= 0
	case GT:
		return c > 0
	case GE:
		return c >= 0
	}
	return false
}

func between(b, from, to []byte) bool {
	return compare(b, GE, from) && compare(b, LE, to)
}
