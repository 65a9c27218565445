package tracer_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// functionsStage traces a container with functions. It returns nil where this
// kernel has no way to probe them by this provider ("": by any), which the error must say.
func functionsStage(t *testing.T, cfg tracer.Config) *stage {
	t.Helper()
	s := newStage(t, lab.Config{Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
	s.settle()
	s.before = map[string]counters{}
	for _, c := range s.world.Containers {
		s.before[c.Name] = s.count(c.NS)
	}
	cfg.Host, cfg.Sample = s.world.Host.NS, 1
	tr, err := tracer.Open(s.ctx, cfg, spec(s.world.Container("nginx")))
	var unsupported *tracer.UnsupportedError
	if errors.As(err, &unsupported) {
		if canProbe(cfg.FunctionsBy) {
			t.Fatalf("this kernel can: %v", err)
		}
		checkRefusal(t, cfg, err)
		return nil
	}
	s.must(err)
	if !canProbe(cfg.FunctionsBy) {
		t.Error("this kernel cannot, and did")
	}
	s.tracer = tr
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close the tracer: %v", err)
		}
	})
	return s
}

// canProbe asks the kernel in another way than the product does.
func canProbe(by tracer.Provider) bool {
	_, err := os.Stat("/sys/bus/event_source/devices/kprobe/type")
	kprobes := err == nil
	switch by {
	case tracer.ProviderSession:
		return features.HaveBPFLinkKprobeSession() == nil && cookieWithoutArguments()
	case tracer.ProviderMulti:
		return features.HaveBPFLinkKprobeMulti() == nil
	}
	return kprobes
}

// cookieWithoutArguments tells whether bpf_session_cookie is as the programs call
// it: since 7.x it takes the context, which cilium/ebpf v0.22 cannot express beside the other.
func cookieWithoutArguments() bool {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	var cookie *btf.Func
	if kernel.TypeByName("bpf_session_cookie", &cookie) != nil {
		return false
	}
	proto, ok := cookie.Type.(*btf.FuncProto)
	return ok && len(proto.Params) == 0
}

// checkRefusal holds that one line tells all that was tried.
func checkRefusal(t *testing.T, cfg tracer.Config, err error) {
	t.Helper()
	wants := []string{"probe functions of the kernel: not allowed here", string(cfg.FunctionsBy) + ": "}
	if cfg.FunctionsBy == "" {
		wants = []string{"kprobe.session: ", "fentry: ", "kprobe.multi: ", "kprobe: "}
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %v", err)
	}
}

// took is what a function took inside a hop: how often, and its sums.
type took struct {
	calls                uint64
	inclusive, exclusive time.Duration
}

// place is a function ("": the hop itself) in a hop of a path.
type place struct {
	path     string
	hop      int
	function string
}

// An opened function of the model is a function that a packet is in.
type opened struct {
	name    string
	entered time.Duration
}

// model tells the functions of one journey apart, in another way than the
// kernel side does: each moment belongs to the innermost function.
func model(t *testing.T, j tracer.Journey, calls map[string]bool, into map[place]*took) {
	t.Helper()
	add := func(hop int, function string) *took {
		p := place{j.Path, hop, function}
		if into[p] == nil {
			into[p] = &took{}
		}
		return into[p]
	}
	hop, begin, last := 0, j.Stamps[0].T, j.Stamps[0].T
	var open []opened
	var called bool
	pass := func(now time.Duration) {
		if now < last {
			t.Errorf("a call is before the one before it: %+v", j.Stamps)
		}
		inside := ""
		if len(open) > 0 {
			inside = open[len(open)-1].name
		}
		add(hop, inside).exclusive += now - last
		last = now
	}
	pop := func(now time.Duration) {
		top := open[len(open)-1]
		open = open[:len(open)-1]
		add(hop, top.name).inclusive += now - top.entered
		add(hop, top.name).calls++
	}
	for _, stamp := range j.Stamps[1:] {
		name, returns := strings.CutSuffix(stamp.Hook, "/return")
		pass(stamp.T)
		switch {
		case returns:
			at := len(open) - 1
			for at >= 0 && open[at].name != name && !strings.HasPrefix(open[at].name, name+"/") {
				at--
			}
			for at >= 0 && len(open) > at {
				pop(stamp.T)
			}
		case calls[name]:
			called = true
			open = append(open, opened{name, stamp.T})
		default: // the hop's end
			for len(open) > 0 {
				pop(stamp.T)
			}
			if own := add(hop, ""); called {
				own.calls++
				own.inclusive += stamp.T - begin
			} else {
				own.exclusive -= stamp.T - begin // only hops with functions have figures of their own
			}
			hop, begin, called = hop+1, stamp.T, false
		}
	}
}

// checkFunctions holds the figures of functions against the journeys they were
// made of, all of which were recorded, and against the hops they lie in.
func checkFunctions(t *testing.T, snapshot tracer.Snapshot) {
	t.Helper()
	calls, want := map[string]bool{}, map[place]*took{}
	for _, p := range snapshot.Targets[0].Paths {
		for _, h := range p.Hops {
			for _, f := range h.Functions {
				calls[f.Name] = true
			}
		}
	}
	for _, j := range snapshot.Journeys {
		model(t, j, calls, want)
	}
	var rows int
	for _, p := range snapshot.Targets[0].Paths {
		for i, h := range p.Hops {
			var sum uint64
			if h.Own != nil {
				sum = h.Own.Hist.Sum
			}
			for _, f := range h.Functions {
				rows++
				sum += f.Exclusive.Hist.Sum
				got := took{f.Inclusive.Hist.Count(), time.Duration(f.Inclusive.Hist.Sum), time.Duration(f.Exclusive.Hist.Sum)}
				if w := want[place{p.ID, i, f.Name}]; w == nil || *w != got || f.Exclusive.Hist.Count() != got.calls {
					t.Errorf("%s, %s: %+v, the journeys say %+v", h.Name, f.Name, got, w)
				}
			}
			if len(h.Functions) == 0 {
				continue
			}
			own := want[place{p.ID, i, ""}]
			if own == nil || own.calls != h.Own.Hist.Count() || own.exclusive != time.Duration(h.Own.Hist.Sum) {
				t.Errorf("%s, own: %d of %d ns, the journeys say %+v", h.Name, h.Own.Hist.Count(), h.Own.Hist.Sum, own)
			}
			if h.Own.Hist.Count() == h.Latency.Hist.Count() && sum != h.Latency.Hist.Sum {
				t.Errorf("%s: own and exclusive times are %d ns, the hop is %d ns", h.Name, sum, h.Latency.Hist.Sum)
			}
		}
	}
	if rows == 0 {
		t.Error("no functions")
	}
}

// order holds that these functions of a hop come in this order, each inside the one before where it says so.
func order(t *testing.T, snapshot tracer.Snapshot, direction tracer.Direction, hop string, names ...string) {
	t.Helper()
	for _, p := range snapshot.Targets[0].Paths {
		for _, h := range p.Hops {
			if p.Direction != direction || h.Name != hop {
				continue
			}
			var got []string
			for _, f := range h.Functions {
				if slices.Contains(names, strings.Repeat(">", f.Depth)+f.Name) {
					got = append(got, strings.Repeat(">", f.Depth)+f.Name)
				}
			}
			if slices.Equal(got, names) {
				return
			}
		}
	}
	t.Errorf("%s: functions in no hop %s in the order %v\n%s", direction, hop, names, describeFunctions(snapshot))
}

func describeFunctions(snapshot tracer.Snapshot) string {
	var b strings.Builder
	for _, p := range snapshot.Targets[0].Paths {
		for _, h := range p.Hops {
			b.WriteString(p.Direction.String() + " " + h.Name + ":")
			for _, f := range h.Functions {
				b.WriteString(" " + strings.Repeat(">", f.Depth) + f.Name)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// At detail functions hops are those of detail tables, and inside them functions
// come in the kernel's order and add up to the hop.
func TestFunctions(t *testing.T) {
	s := functionsStage(t, tracer.Config{Detail: tracer.DetailFunctions})
	if s == nil {
		return
	}
	s.udp(s.world.Client, s.world.Host.IP4, 7007, 100)
	snapshot := s.stop()
	if snapshot.Detail != tracer.DetailFunctions || len(snapshot.Journeys) < 200 || snapshot.Observer.CallsLost != 0 {
		t.Errorf("detail %s, %d journeys, %d calls lost", snapshot.Detail, len(snapshot.Journeys), snapshot.Observer.CallsLost)
	}
	checkFunctions(t, snapshot)
	order(t, snapshot, tracer.Ingress, "uplink", "ip_rcv", ">ip_rcv_core")
	order(t, snapshot, tracer.Ingress, "bridge", "dev_hard_start_xmit", ">br_dev_xmit", ">>br_forward")
	order(t, snapshot, tracer.Ingress, "veth", "dev_hard_start_xmit", ">veth_xmit", ">>__dev_forward_skb")
	order(t, snapshot, tracer.Ingress, "softirq", "__netif_receive_skb")
	order(t, snapshot, tracer.Ingress, "routing", "ip_route_input_noref", "ip_forward")
	order(t, snapshot, tracer.Egress, "softirq", "process_backlog", ">__netif_receive_skb")
	order(t, snapshot, tracer.Egress, "bridge", "br_handle_frame", ">br_nf_pre_routing")
	order(t, snapshot, tracer.Egress, "bridge", "br_nf_pre_routing_finish", ">br_handle_frame_finish", ">>br_pass_frame_up")
	if !strings.Contains(describeFunctions(snapshot), "nf_conntrack_in") {
		t.Errorf("connection tracking is in no hop\n%s", describeFunctions(snapshot))
	}
}

// Each provider tells the same; those without returns say so, and what they
// tell adds up all the same.
func TestFunctionProviders(t *testing.T) {
	for _, c := range []struct {
		by      tracer.Provider
		returns bool
	}{
		{tracer.ProviderSession, true},
		{tracer.ProviderTracing, true},
		{tracer.ProviderMulti, false},
		{tracer.ProviderKprobe, false},
	} {
		t.Run(string(c.by), func(t *testing.T) {
			s := functionsStage(t, tracer.Config{
				Detail: tracer.DetailHooks, FunctionsBy: c.by,
				Probes: []string{"nf_conntrack_in", "ip_forward", "ip_output", "veth_xmit"},
			})
			if s == nil {
				return
			}
			s.udp(s.world.Client, s.world.Host.IP4, 7007, 50)
			snapshot := s.stop()
			checkFunctions(t, snapshot)
			order(t, snapshot, tracer.Ingress, "netfilter/prerouting", "nf_conntrack_in")
			order(t, snapshot, tracer.Ingress, "veth", "veth_xmit")
			returned := slices.ContainsFunc(snapshot.Journeys, func(j tracer.Journey) bool {
				return slices.ContainsFunc(j.Stamps, func(s tracer.Stamp) bool { return s.Hook == "nf_conntrack_in/return" })
			})
			noted := slices.ContainsFunc(snapshot.Notes, func(n string) bool { return strings.Contains(n, "does not tell of returns") })
			if returned != c.returns || noted == c.returns {
				t.Errorf("returns seen: %v, noted that there are none: %v; want %v, %v", returned, noted, c.returns, !c.returns)
			}
			if slices.ContainsFunc(snapshot.Hooks, func(a tracer.Attachment) bool { return a.Hook == "functions" && a.Links > 0 }) {
				t.Error("after Stop functions are attached to")
			}
		})
	}
}

// A function that the kernel lacks is told before anything is attached.
func TestUnknownFunction(t *testing.T) {
	s := newStage(t, lab.Config{})
	tr, err := tracer.Open(s.ctx, tracer.Config{Host: s.world.Host.NS, Probes: []string{"ip_rcvv"}}, spec(s.world.Container("nginx")))
	if err == nil {
		s.must(tr.Close())
	}
	if err == nil || !strings.Contains(err.Error(), "like it: ip_rcv") {
		t.Errorf("%v", err)
	}
}
