package page

import (
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/tracer"
)

// After the end nothing is "yet", and packets that never arrived are told.
func TestSentenceWithoutPackets(t *testing.T) {
	some := tracer.Target{Name: "x", Paths: []tracer.Path{fixed(tracer.Ingress, "uplink", "established", 20, 50)}}
	lost := tracer.Target{Name: "x"}
	lost.Accounting[tracer.Ingress] = tracer.Accounting{Started: 100, Dropped: 100}
	lost.Accounting[tracer.Egress] = tracer.Accounting{Started: 20, Expired: 20}
	half := some
	half.Accounting[tracer.Ingress] = tracer.Accounting{Started: 50, Completed: 50}
	half.Accounting[tracer.Egress] = tracer.Accounting{Started: 7, Cut: 7}
	for _, c := range []struct {
		target tracer.Target
		final  bool
		want   string
	}{
		{tracer.Target{Name: "x"}, false, "x: no packets yet"},
		{tracer.Target{Name: "x"}, true, "x: no packets"},
		{some, true, "x: the network path takes 20 ns in, no packets out"},
		{lost, true, "x: 120 started, none completed"},
		{lost, false, "x: 120 started, none completed yet"},
		{half, true, "x: the network path takes 20 ns in, 7 started out, none completed"},
	} {
		if got := Sentence(c.target, Options{Final: c.final}); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Paths of a target in several networks are told apart by its own device.
func TestHeadingNamesTheDevice(t *testing.T) {
	hops := func(d tracer.Direction, own, veth string) tracer.Path {
		p := fixed(d, "host", "established", 20, 50)
		p.Packets = 50
		p.Hops = []tracer.Hop{{Name: "routing", Device: "eth0"}, {Name: "bridge", Device: veth}, {Name: "softirq", Side: tracer.SideTarget, Device: own}, {Name: "netfilter/input", Side: tracer.SideTarget}}
		if d == tracer.Egress {
			slices.Reverse(p.Hops)
		}
		return p
	}
	g := tracer.Target{
		Interfaces: []tracer.Interface{{Name: "lo"}, {Name: "eth0", Peer: "veth0"}, {Name: "eth1", Peer: "veth1"}},
		Paths: []tracer.Path{
			hops(tracer.Ingress, "eth0", "veth0"), hops(tracer.Ingress, "eth1", "veth1"),
			hops(tracer.Egress, "", "veth1"),
		},
	}
	text := strings.Join(Target(g, 0, Options{}), "\n")
	for _, want := range []string{"in from host  by eth0  ", "in from host  by eth1  ", "out to host  by eth1  "} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once in\n%s", want, text)
		}
	}
	g.Interfaces = g.Interfaces[:2]
	if text := strings.Join(Target(g, 0, Options{}), "\n"); strings.Contains(text, " by ") {
		t.Errorf("the only device is told:\n%s", text)
	}
}
