// SPDX-License-Identifier: Apache-2.0

package main

import "io"

// told remembers that a write failed, for writers that do not tell (cobra's help).
type told struct {
	to     io.Writer
	failed error
}

// Write writes through.
func (t *told) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return n, err
}
