package tracer_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Quantiles of real packets: within 3.2% of the exact ones of the very same
// packets, whose journeys are all recorded; in order; and none where fewer than
// ten values lie above.
func TestQuantilesOfRecordedJourneys(t *testing.T) {
	const trips = 500 // both ways together fewer than the records that are kept
	s := newStage(t, lab.Config{Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
	s.open(tracer.Config{Sample: 1}, "nginx")
	injector, err := s.world.InjectTCX(s.world.Container("nginx").Node, "eth0", lab.Egress, false)
	s.must(err)
	defer func() { s.must(injector.Close()) }()
	s.must(injector.Only(unix.IPPROTO_UDP))
	for i := range 10 { // latencies over three powers of ten
		s.must(injector.Set(time.Duration(i*i*i) * 500 * time.Nanosecond))
		s.udp(s.world.Client, s.world.Host.IP4, 7007, trips/10)
	}
	snapshot := s.stop()
	values := map[string][][]float64{} // by path and hop; the whole is behind the hops
	for _, j := range snapshot.Journeys {
		hops := len(j.Stamps) - 1
		if values[j.Path] == nil {
			values[j.Path] = make([][]float64, hops+1)
		}
		of := values[j.Path]
		for i := range hops {
			of[i] = append(of[i], float64(j.Stamps[i+1].T-j.Stamps[i].T))
		}
		of[hops] = append(of[hops], float64(j.Latency()))
	}
	checked := 0
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		of := values[p.ID]
		if len(of) != len(p.Hops)+1 || uint64(len(of[0])) != p.Packets {
			t.Fatalf("not all journeys are recorded: %s", describePath(p))
		}
		for i, hop := range p.Hops {
			checked += checkQuantiles(t, hop.Name, hop.Latency, of[i])
		}
		checked += checkQuantiles(t, "the whole", p.Latency, of[len(p.Hops)])
	}
	if checked < 4*9 {
		t.Errorf("only %d quantiles were looked at", checked)
	}
}

// checkQuantiles compares a latency's with those of its values, and says how many it had.
func checkQuantiles(t *testing.T, name string, l tracer.Latency, values []float64) (checked int) {
	t.Helper()
	slices.Sort(values)
	n, before := float64(len(values)), 0.0
	raw, corrected := l.Raw(), l.Corrected()
	for _, c := range []struct {
		q              float64
		raw, corrected *float64
	}{
		{0.5, raw.P50Ns, corrected.P50Ns},
		{0.9, raw.P90Ns, corrected.P90Ns},
		{0.99, raw.P99Ns, corrected.P99Ns},
		{0.999, raw.P999Ns, corrected.P999Ns},
	} {
		if tellable := (1-c.q)*n >= 10-1e-9; tellable != (c.raw != nil) || tellable != (c.corrected != nil) {
			t.Errorf("%s: quantile %g of %.0f values: %v, %v", name, c.q, n, c.raw, c.corrected)
		}
		if c.raw == nil {
			continue
		}
		checked++
		exact := values[int(math.Ceil(c.q*n))-1]
		if math.Abs(*c.raw-exact) > 0.032*exact {
			t.Errorf("%s: quantile %g is %f, exactly %f", name, c.q, *c.raw, exact)
		}
		if *c.raw < before || *c.raw > float64(raw.MaxNs) {
			t.Errorf("%s: quantile %g is %f, the one below %f, the largest value %d", name, c.q, *c.raw, before, raw.MaxNs)
		}
		before = *c.raw
	}
	if len(values) > 0 && float64(raw.MaxNs) != values[len(values)-1] {
		t.Errorf("%s: largest value %d, exactly %f", name, raw.MaxNs, values[len(values)-1])
	}
	return checked
}
