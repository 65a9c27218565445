// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// The truth that is injected: 10 µs. A machine whose other tenants take the CPU
// moves means by more than a few percent of that: there, and only there, it is
// tried again with more, and what must come out stays the same share of it.
const (
	truth = 10 * time.Microsecond
	tries = 8
)

// more is what is injected next where intervals say that the machine moves means
// by noise.
func more(delay time.Duration, noise, tolerated float64) time.Duration {
	if noise > tolerated*float64(delay) {
		return 2 * delay
	}
	return delay
}

func halfWidth(e *result.Estimate) float64 {
	if e == nil {
		return math.Inf(1)
	}
	return (e.Hi - e.Lo) / 2
}

// behindFilter is the priority of what is injected in FORWARD: in front of the
// rules it would make them slower as well, as caches get cold while a packet waits.
const behindFilter = 1000

func forward(t *testing.T, w *Reference) *lab.Injector {
	t.Helper()
	family := link.NetfilterProtoIPv4
	if w.six {
		family = link.NetfilterProtoIPv6
	}
	injector, err := w.Lab().InjectNetfilter(w.HostNS(), family, link.NetfilterInetForward, behindFilter)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { injector.Close() })
	return injector
}

// thrice has the published port three times, so that all of them are measured in
// the same rounds: as it is, once more, and with a client that waits.
type thrice struct{ *Reference }

const wayAgain, waySlow = "again", "slow"

func (w thrice) Ways() []Way {
	ways := w.Reference.Ways()
	published, _ := wayNamed(ways, WayPublished)
	again, slow := published, published
	again.Name, again.Against, slow.Name = wayAgain, WayPublished, waySlow
	return append(ways, again, slow)
}

// 10 µs that the client spends, outside of every stamp, are not seen: the share
// falls accordingly, and what is not seen has them.
func TestClientDelayIsNotSeen(t *testing.T) {
	w := reference(t)
	injector := forward(t, w)
	delay := truth
	for try := range tries {
		seen := time.Duration(0)
		if try > 0 { // what must be seen stands out of the noise as well
			seen = delay
		}
		if err := injector.Set(seen); err != nil {
			t.Fatal(err)
		}
		d := run(t, Config{
			World: thrice{w}, Ways: []string{WayPublished, wayAgain, waySlow}, Loads: []string{"tcp_rr"},
			Duration: 8 * time.Second, ClientDelay: map[string]time.Duration{waySlow: delay},
		})
		within := 0.25
		if try >= tries/2 { // a machine that is never quiet
			within = 0.5
		}
		wrong := wrongShares(d, float64(delay), float64(seen), within)
		if len(wrong) == 0 {
			return
		}
		t.Logf("try %d, %v: %s", try, delay, strings.Join(wrong, "; "))
		noise := 0.0
		for _, c := range d.Comparisons {
			noise = max(noise, halfWidth(c.Explained.Client))
		}
		delay = more(delay, noise, 0.1)
	}
	t.Errorf("the share is not what it must be, in %d tries", tries)
}

// wrongShares says what is not as it must be when the client of one way waits by
// delay, which nothing sees, and forwarded packets by seen. Differences may be
// off by the given share of the delay.
func wrongShares(d result.Document, delay, seen, share float64) (wrong []string) {
	of := map[string]result.Comparison{}
	for _, c := range d.Comparisons {
		of[c.Of] = c
	}
	base, slow, again := of[WayPublished], of[waySlow], of[wayAgain]
	if base.ExplainedShare == nil || slow.ExplainedShare == nil || again.Explained.Client == nil {
		return []string{fmt.Sprintf("no share: %q, %q", base.ExplainedReason, slow.ExplainedReason)}
	}
	check := func(name string, got, want, within float64) {
		if math.Abs(got-want) > within {
			wrong = append(wrong, fmt.Sprintf("%s is %.4g, want %.4g within %.2g", name, got, want, within))
		}
	}
	client, left := base.Explained.Client, base.Explained.NotSeen.Mean
	check("what is not seen of the way itself", left.Ns, 0, max(0.2*(client.Ns-2*seen), (share-0.25)*delay)+(left.Hi-left.Lo)/2)
	check("what is not seen more", slow.Explained.NotSeen.Mean.Ns-left.Ns, delay, share*delay)
	check("the share", slow.ExplainedShare.Share, slow.Explained.Hops.Ns/(client.Ns+delay), 0.08+(share-0.25)/4)
	check("what the same way takes longer", again.Explained.Client.Ns, 0, share*delay)
	if again.ExplainedShare != nil && again.Explained.Client.Lo <= 0 && again.Explained.Client.Hi >= 0 {
		wrong = append(wrong, "a share of nothing is told")
	}
	if base.ExplainedShare.Share < 0.8 || slow.ExplainedShare.Share > base.ExplainedShare.Share-0.15 {
		wrong = append(wrong, fmt.Sprintf("share %.3f, with the client's delay %.3f", base.ExplainedShare.Share, slow.ExplainedShare.Share))
	}
	return wrong
}

// 10 µs injected in FORWARD of one side come out in that hop's rows, with an
// interval that holds them, and shares add up.
func TestForwardDelayOfOneSide(t *testing.T) {
	w := reference(t)
	injector := forward(t, w)
	var wrong []string
	delay := truth
	for try := range tries {
		c, waited := withForwardDelay(t, w, injector, delay, uint64(try))
		if wrong = wrongRows(c, float64(delay), waited); len(wrong) > 0 {
			t.Logf("try %d, %v: waited %.0f ns more: %v", try, delay, waited, wrong)
			noise := 0.0
			for _, r := range c.Rows {
				noise = max(noise, halfWidth(r.Mean))
			}
			delay = more(delay, noise, 0.05)
			continue
		}
		total, rows := 0.0, 0.0
		for _, l := range c.Layers {
			total += l.Share.Share
		}
		for _, r := range c.Rows {
			rows += r.Share.Share
		}
		if math.Abs(total-1) > 1e-9 || math.Abs(rows-1) > 1e-9 {
			t.Errorf("shares of layers add up to %f, of rows to %f", total, rows)
		}
		return
	}
	t.Error(wrong)
}

// withForwardDelay measures both sides, round by round, and returns by how much
// packets of one really waited longer, in nanoseconds.
func withForwardDelay(t *testing.T, w *Reference, injector *lab.Injector, delay time.Duration, seed uint64) (result.Comparison, float64) {
	t.Helper()
	way, _ := wayNamed(w.Ways(), WayPublished)
	load, _ := loadNamed("udp_rr")
	sides := map[bool]*cell{false: newCell(way, load), true: newCell(way, load)}
	var waited, packets float64
	client, err := loadgen.Open(w.thread, way.Client, generated(load), way.To.of(loadgen.UDPRR), runtime.NumCPU()-1)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	tr, err := tracer.Open(t.Context(), tracer.Config{Host: w.HostNS()}, w.Targets()...)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for round := range 32 {
		on := round%4 == 1 || round%4 == 2
		now := time.Duration(0)
		if on {
			now = delay
		}
		if err := injector.Set(now); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Run(3 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		before := stats(t, injector)
		sides[on].round(t, tr, client, time.Duration(round/2)*time.Second)
		after := stats(t, injector)
		waited += float64(after.Waited - before.Waited)
		packets += float64(after.Delayed - before.Delayed)
	}
	if err := injector.Set(0); err != nil {
		t.Fatal(err)
	}
	c, _, err := compare.Targets(sides[true].target(), sides[false].target(), compare.Options{Of: "after", Against: "before", Paired: true, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	return c, waited / packets
}

func stats(t *testing.T, injector *lab.Injector) lab.InjectStats {
	t.Helper()
	s, err := injector.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownCost is what the injector costs beside its wait: the clock, the loop, its counters.
const ownCost = 150

// wrongRows says which rows are not what was injected: in FORWARD's the median
// within 3% of it, the mean within 3% of what was really waited (the injector is
// interrupted as well), with an interval that holds it; and nothing elsewhere.
func wrongRows(c result.Comparison, delay, waited float64) (wrong []string) {
	say := func(text string, r result.Row) {
		data, _ := json.Marshal([]*result.Estimate{r.Mean, r.P50})
		wrong = append(wrong, r.Direction+" "+r.Hop+" "+text+" "+string(data))
	}
	for _, r := range c.Rows {
		switch {
		case r.Mean == nil || r.Share == nil:
			say("has no figures", r)
		case r.Hop != "netfilter/forward":
			if math.Abs(r.Mean.Ns) > 0.05*delay {
				say("moved", r)
			}
		case math.Abs(r.Mean.Ns-waited) > 0.03*delay || r.P50 == nil || math.Abs(r.P50.Ns-delay) > 0.03*delay:
			say("is not within 3%", r)
		case r.Mean.Lo > waited+ownCost || r.Mean.Hi < waited:
			say("does not hold what was waited", r)
		}
	}
	return wrong
}

// round measures one round.
func (c *cell) round(t *testing.T, tr *tracer.Tracer, client *loadgen.Client, start time.Duration) {
	t.Helper()
	before, err := tr.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	seen, err := client.Run(40 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	after, err := tr.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c.addTraced(start, seen, unknown(), after.Since(before))
}

// By IPv6 there are the same ways with the same hops, and what is injected is
// explained as well.
func TestIPv6(t *testing.T) {
	const wait = 50 * time.Microsecond
	w := referenceBy(t, true)
	if err := forward(t, w).Set(wait); err != nil {
		t.Fatal(err)
	}
	d := run(t, Config{World: w, Loads: []string{"tcp_rr", "udp_rr", "http"}, Duration: 25 * time.Second})
	if len(d.Bench.Ways) != 7 || len(d.Bench.Cells) != 7*3 {
		t.Fatalf("%d ways, %d cells; left out: %v", len(d.Bench.Ways), len(d.Bench.Cells), d.Bench.LeftOut)
	}
	for _, way := range d.Bench.Ways {
		if !strings.Contains(way.Address, ":") || !strings.Contains(way.Title, "IPv6") {
			t.Errorf("way %s goes to %s: %s", way.Name, way.Address, way.Title)
		}
	}
	for _, c := range d.Bench.Cells {
		checkCell(t, d, c)
	}
	for _, c := range d.Comparisons {
		if !strings.HasPrefix(c.Class, "ipv6, ") {
			t.Errorf("%s %s: %s", c.Load, c.Of, c.Class)
		}
		checkInjected(t, d, c, wait)
		if c.Of == WayPublished && !slices.ContainsFunc(c.Rows, func(r result.Row) bool {
			return r.Hop == "netfilter/forward" && r.Of != nil && r.Of.MeanNs > float64(wait) && r.Against == nil
		}) {
			t.Errorf("%s %s: FORWARD's row has not what is injected there", c.Load, c.Of)
		}
	}
}

// checkInjected wants a share, and most of it explained, where packets are
// forwarded and wait there.
func checkInjected(t *testing.T, d result.Document, c result.Comparison, wait time.Duration) {
	t.Helper()
	load, _ := loadNamed(c.Load)
	if !load.OnePacket || c.Of == WayProxy { // the proxy's packets are not forwarded
		return
	}
	if c.ExplainedShare == nil && c.Load == "tcp_rr" && acknowledged(d, c) {
		return // and it is said
	}
	if c.ExplainedShare == nil {
		t.Errorf("%s %s: no share: %s", c.Load, c.Of, c.ExplainedReason)
	} else if s, client := c.ExplainedShare.Share, c.Explained.Client.Ns; s < 0.5 || s > 1.5 || client < float64(wait) {
		t.Errorf("%s %s: %.2f of %.0f ns are explained, of which FORWARD is %v there and as much back", c.Load, c.Of, s, client, wait)
	}
}

// acknowledged tells whether a way has packets that are no answers: where others
// keep the CPU for longer than 40 ms, TCP does not wait for one to acknowledge.
func acknowledged(d result.Document, c result.Comparison) bool {
	const most = 1.02
	return strings.Contains(c.ExplainedReason, "packets in and") && slices.ContainsFunc(d.Bench.Cells, func(cell result.Cell) bool {
		return cell.Load == c.Load && (cell.Way == c.Of || cell.Way == c.Against) && max(cell.PerRequest.PacketsIn, cell.PerRequest.PacketsOut) > most
	})
}
