// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
		told string
	}{
		{"done", nil, 0, ""},
		{"usage", fmt.Errorf("read flags: %w", flag.ErrHelp), 2, ""},
		{"failed", errors.New("measure: no such device"), 1, "bench: measure: no such device\n"},
	} {
		var told strings.Builder
		if got := status("bench", c.err, &told); got != c.want || told.String() != c.told {
			t.Errorf("%s: status %d, told %q; want %d, %q", c.name, got, told.String(), c.want, c.told)
		}
	}
}
