// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
)

// Two hosts, two days, and what an older version did not record are no causes;
// a changed setting of one host and day is told without a caution.
func TestCircumstanced(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	on := func(machine, forward string) *environment.Environment {
		return &environment.Environment{
			Host: environment.Host{Name: "h-" + machine, Machine: machine}, Sysctls: map[string]string{"net.ipv4.ip_forward": forward},
		}
	}
	for name, tt := range map[string]struct {
		of, against Circumstances
		caution     string // part of it; "" for none
		keys        string
	}{
		"a setting": {
			Circumstances{"after", noon, on("m", "1")},
			Circumstances{"before", noon.Add(-time.Hour), on("m", "0")},
			"", "sysctls.net.ipv4.ip_forward",
		},
		"nothing": {Circumstances{"after", noon, on("m", "1")}, Circumstances{"before", noon, on("m", "1")}, "", ""},
		"two days": {
			Circumstances{"after", noon, on("m", "1")},
			Circumstances{"before", noon.Add(-24 * time.Hour), on("m", "1")},
			"on different days (2026-11-24 and 2026-11-25): no cause can be named", "",
		},
		"two hosts": {
			Circumstances{"after", noon, on("m", "1")},
			Circumstances{"before", noon, on("n", "1")},
			"on different hosts (h-n and h-m): no cause can be named", "host.machine host.name",
		},
		"both": {
			Circumstances{"after", noon, on("m", "1")},
			Circumstances{"before", noon.Add(24 * time.Hour), on("n", "1")},
			") and on different hosts", "host.machine host.name",
		},
		"not recorded": {
			Circumstances{"after", noon, on("m", "1")},
			Circumstances{"before", noon, nil},
			"before does not tell", "",
		},
	} {
		differences, caution, err := Circumstanced(tt.of, tt.against)
		if err != nil {
			t.Fatal(err)
		}
		if tt.caution == "" && caution != "" || !strings.Contains(caution, tt.caution) {
			t.Errorf("%s: caution %q, want %q", name, caution, tt.caution)
		}
		var keys []string
		for _, d := range differences {
			keys = append(keys, d.Key)
		}
		if strings.Join(keys, " ") != tt.keys {
			t.Errorf("%s: differs in %q, want %s", name, keys, tt.keys)
		}
	}
}
