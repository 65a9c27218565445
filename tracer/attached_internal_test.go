package tracer

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/link"
)

// A hook has one name, which no other row of the table has.
func TestHooksHaveNamesOfTheirOwn(t *testing.T) {
	rows := map[string]HookSpec{}
	for _, h := range Hooks() {
		if other, twice := rows[h.Name()]; twice {
			t.Errorf("%s is both %s and %s", h.Name(), h.Program, other.Program)
		}
		rows[h.Name()] = h
	}
	for _, want := range []string{
		"port/egress", "uplink/ingress", "uplink/ingress/null", "host/forward/first", "host/forward/last",
		"target/output/null", "netif_rx", "null_tracepoint",
	} {
		if _, ok := rows[want]; !ok {
			t.Errorf("no hook %s", want)
		}
	}
}

// closer counts its Close calls.
type closer struct {
	link.Link
	closed int
	err    error
}

func (c *closer) Close() error { c.closed++; return c.err }

func TestTallyCountsUntilClosed(t *testing.T) {
	of, h := newTally(), Hooks()[0]
	broken := &closer{err: errors.New("no")}
	a, b := of.hold(h, broken), of.hold(h, &closer{})
	if n := of.links[h.Name()]; n != 2 {
		t.Fatalf("%d links", n)
	}
	if err := a.Close(); !errors.Is(err, broken.err) {
		t.Errorf("closed with %v", err)
	}
	_ = a.Close() // again: the link is told, and not counted twice
	if n := of.links[h.Name()]; n != 1 || broken.closed != 2 {
		t.Errorf("%d links, closed %d times", n, broken.closed)
	}
	if err := b.Close(); err != nil || of.links[h.Name()] != 0 {
		t.Errorf("%v, %d links", err, of.links[h.Name()])
	}
	var none *tally
	if l := none.hold(h, broken); l != link.Link(broken) {
		t.Error("no tally, and another link")
	}
}
