// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
)

// Two hosts, two days, and what an older version did not record are no causes;
// two runs of one day, one after the other, are one only when they are repeated.
func TestCircumstanced(t *testing.T) {
	const long = 30 * time.Second
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
			Circumstances{"after", noon, long, on("m", "1")},
			Circumstances{"before", noon.Add(-time.Hour), long, on("m", "0")},
			"one after the other, 60 min apart: a machine drifts meanwhile", "sysctls.net.ipv4.ip_forward",
		},
		"one behind the other": {
			Circumstances{"after", noon.Add(long), long, on("m", "1")},
			Circumstances{"before", noon, long, on("m", "1")},
			"one after the other, 30 s apart", "",
		},
		"at the same time": {
			Circumstances{"after", noon.Add(long / 2), long, on("m", "1")},
			Circumstances{"before", noon, long, on("m", "1")},
			"", "",
		},
		"nothing": {Circumstances{"after", noon, long, on("m", "1")}, Circumstances{"before", noon, long, on("m", "1")}, "", ""},
		"two days": {
			Circumstances{"after", noon, long, on("m", "1")},
			Circumstances{"before", noon.Add(-24 * time.Hour), long, on("m", "1")},
			"on different days (2026-11-24 and 2026-11-25): no cause can be named", "",
		},
		"two hosts": {
			Circumstances{"after", noon, long, on("m", "1")},
			Circumstances{"before", noon, long, on("n", "1")},
			"on different hosts (h-n and h-m): no cause can be named", "host.machine host.name",
		},
		"both": {
			Circumstances{"after", noon, long, on("m", "1")},
			Circumstances{"before", noon.Add(24 * time.Hour), long, on("n", "1")},
			") and on different hosts", "host.machine host.name",
		},
		"not recorded": {
			Circumstances{"after", noon, long, on("m", "1")},
			Circumstances{"before", noon, long, nil},
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
