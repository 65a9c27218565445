// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// What iptables-save wrote comes out of the model as it went in.
func TestSaveRoundTrip(t *testing.T) {
	files, err := filepath.Glob("testdata/*.save")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			family := "ip"
			if strings.Contains(file, "ip6") {
				family = "ip6"
			}
			set, err := rules.ParseSave(string(text), family, rules.NFT)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]string{}
			table := ""
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, "*") {
					table = line[1:]
				}
				if _, rest, ok := strings.Cut(line, "-A "); ok {
					chain, spec, _ := strings.Cut(rest, " ")
					want[table+"/"+chain] = append(want[table+"/"+chain], spec)
				}
			}
			n := 0
			for _, c := range set.Chains {
				for i, r := range c.Rules {
					n++
					if w := want[c.Table+"/"+c.Name][i]; r.Text != w {
						t.Errorf("%s/%s rule %d:\n got %s\nwant %s", c.Table, c.Name, i+1, r.Text, w)
					}
				}
			}
			if n == 0 {
				t.Error("no rules")
			}
		})
	}
}
