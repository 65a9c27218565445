// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/report"
)

// example is a result of two ways through one place, one of them wrong at 20 us.
func example() Result {
	r := Result{Header: Header{Version: "v1", Date: "2026-01-02", Machine: report.Machine{Kernel: "6.18", CPU: "CPU", Cores: 2, Virtual: true}, WindowMs: 100, Rounds: 4}}
	for i, family := range []string{"ipv4", "ipv6"} {
		row := Row{
			Block:     matrix.Block{Detail: "hooks", Mode: "bridge", Place: "forward", Family: family, Protocol: "udp"},
			Direction: "egress", Hop: "netfilter/forward", Tries: 1 + 2*i,
		}
		for _, delay := range matrix.Delays() {
			cell := Cell{Delay: int64(delay), Hit: Moved{By: int64(delay) + 10 + int64(i), Half: 3}, Other: Moved{By: -7 - int64(i)}, Name: "veth"}
			if delay == 20*time.Microsecond && i == 1 {
				cell.Hit.By, cell.Wrong = 30_000, 1
			}
			row.Cells = append(row.Cells, cell)
		}
		r.Rows = append(r.Rows, row)
	}
	r.Flat = []Flat{{Type: "tcx", Hop: "egress veth", Extra: []int{0, 8}, Ns: []float64{400, 414}, Raw: []float64{500, 510}}}
	return r
}

func TestWriteAndRead(t *testing.T) {
	var first, second bytes.Buffer
	if err := example().Write(&first); err != nil {
		t.Fatal(err)
	}
	read, err := Read(bytes.NewReader(first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Write(&second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() || read.Markdown() != example().Markdown() {
		t.Errorf("stored\n%s\nread\n%s", first.String(), second.String())
	}
	if _, err := Read(strings.NewReader("{}\nnonsense\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("nonsense was read: %v", err)
	}
}

func TestMarkdown(t *testing.T) {
	page := example().Markdown()
	for _, want := range []string{
		"**9 of 10 cells are right**, 1 are not; **430 of 432 blocks have not been measured**",
		"### hooks, bridge, egress",
		"| forward | netfilter/forward | +11 | +11 | **+10000** | +11 | +11 | -8 | -8 |",
		"| hooks/bridge/forward/ipv6/udp | egress | 20us | netfilter/forward 30000 (0 +-3) | veth -8 (0 +-0) | 3 times |",
		"| tcx | egress veth | 400 (500) | 414 (510) | 14.0 | 15.0 |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	all := example()
	if !strings.Contains(page, "in random order, 4 times each:") {
		t.Errorf("four rounds:\n%s", page)
	}
	all.Header.Fewest = 2
	if page := all.Markdown(); !strings.Contains(page, "in random order, 2 to 4 times each (until") {
		t.Errorf("two to four rounds:\n%s", page)
	}
	all.Flat[0].Ns[1] = 416
	if page := all.Markdown(); all.Flat[0].Right() || !strings.Contains(page, "**16.0**") {
		t.Errorf("16 ns of 400 are too many:\n%s", page)
	}
	all.Flat[0].Ns = []float64{1000, 1030}
	if !all.Flat[0].Right() {
		t.Error("3% are not too many")
	}
	if page := (Result{}).Markdown(); !strings.Contains(page, "Not measured.") {
		t.Errorf("an empty result:\n%s", page)
	}
}
