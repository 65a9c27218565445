package tracer_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Hooks by the providers that they come down to where a kernel lacks the first
// ones: the same order of hops, the same counts as the devices' own.
func TestOrderOfHopsByOtherProviders(t *testing.T) {
	const tracepoint = tracer.ProviderTracepoint
	for _, test := range []struct {
		name   string
		detail tracer.Detail
		by     tracer.Provider
		refuse []tracer.Provider
		want   map[string]tracer.Provider
	}{
		{
			"clsact", tracer.DetailHooks, tracer.ProviderTCX,
			[]tracer.Provider{tracer.ProviderTCX},
			map[string]tracer.Provider{"port/egress": tracer.ProviderClsact, "uplink/ingress": tracer.ProviderClsact},
		},
		{
			"clsact at devices", tracer.DetailDevices, tracer.ProviderTCX,
			[]tracer.Provider{tracer.ProviderTCX},
			map[string]tracer.Provider{"device/ingress": tracer.ProviderClsact},
		},
		{
			"raw_tp", tracer.DetailHooks, tracer.ProviderTCX,
			[]tracer.Provider{tracepoint},
			map[string]tracer.Provider{"netif_rx": tracer.ProviderRawTracepoint, "kfree_skb": tracer.ProviderRawTracepoint},
		},
		{
			"clsact and raw_tp", tracer.DetailHooks, tracer.ProviderTCX,
			[]tracer.Provider{tracer.ProviderTCX, tracepoint},
			map[string]tracer.Provider{"port/egress": tracer.ProviderClsact, "netif_rx": tracer.ProviderRawTracepoint},
		},
		{
			"raw_tp at devices", tracer.DetailHooks, tracepoint,
			[]tracer.Provider{tracepoint},
			map[string]tracer.Provider{"device_queue": tracer.ProviderRawTracepoint, "netif_rx": tracer.ProviderRawTracepoint},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, wire lab.WireKind) {
				snapshot := orderOfHops(t, wire, tracer.Config{Detail: test.detail, Devices: test.by, Refuse: test.refuse})
				providers(t, snapshot, test.want)
				complete(t, snapshot)
			})
		})
	}
}

// complete holds that no hook is missing that is there all the time.
func complete(t *testing.T, snapshot tracer.Snapshot) {
	t.Helper()
	for _, h := range tracer.Hooks() {
		for _, m := range snapshot.Missing {
			if m.Hook == h.Name() && h.Duty == tracer.DutyAlways {
				t.Errorf("missing: %+v", m)
			}
		}
	}
}

// providers holds that these hooks were taken by these providers.
func providers(t *testing.T, snapshot tracer.Snapshot, want map[string]tracer.Provider) {
	t.Helper()
	for hook, provider := range want {
		at := slices.IndexFunc(snapshot.Hooks, func(a tracer.Attachment) bool { return a.Hook == hook })
		if at < 0 || snapshot.Hooks[at].Provider != provider {
			t.Errorf("%s: want it by %s; hooks are %+v", hook, provider, snapshot.Hooks)
		}
	}
}

// Without netfilter by any provider journeys end at their targets' devices, and
// the run says what it lacks.
func TestWithoutNetfilter(t *testing.T) {
	snapshot := withoutNetfilter(t, tracer.Config{})
	lost := map[string]string{}
	for _, m := range snapshot.Missing {
		lost[m.Hook] = m.Why
	}
	for _, hook := range []string{"target/input/last", "host/forward/first", "target/output/first", "host/input/last"} {
		if !strings.Contains(lost[hook], "netfilter: not to be used") || !strings.Contains(lost[hook], "fentry: not to be used") {
			t.Errorf("%s: %q", hook, lost[hook])
		}
	}
	if len(snapshot.Notes) == 0 || !strings.Contains(strings.Join(snapshot.Notes, "\n"), "detail devices") {
		t.Errorf("notes: %q", snapshot.Notes)
	}
}

// Where variables must be small there are fewer slots, and the fallback's
// programs do all: the main object's, whose bounds are others, are not loaded.
func TestSmallVariables(t *testing.T) {
	snapshot := withoutNetfilter(t, tracer.Config{}.WithObject(func() (*ebpf.CollectionSpec, error) {
		o, err := bpf.LoadKernel()
		if err == nil {
			err = bpf.Shrink(o)
		}
		return o, err
	}))
	providers(t, snapshot, map[string]tracer.Provider{"uplink/ingress": tracer.ProviderClsact, "device/egress": tracer.ProviderClsact, "kfree_skb": tracer.ProviderRawTracepoint})
}

// Where no provider takes a target's devices a run fails and says why, also on a
// host without an uplink, of whose hooks nothing was tried.
func TestWithoutDevices(t *testing.T) {
	for _, uplink := range []bool{true, false} {
		for devices, refuse := range map[tracer.Provider][]tracer.Provider{
			tracer.ProviderTCX:        {tracer.ProviderTCX, tracer.ProviderClsact},
			tracer.ProviderTracepoint: {tracer.ProviderTracepoint, tracer.ProviderRawTracepoint},
		} {
			t.Run(fmt.Sprintf("%s, uplink %v", devices, uplink), func(t *testing.T) {
				world, err := lab.New(testContext(t), lab.Config{Names: []string{"nginx"}})
				if err != nil {
					t.Fatal(err)
				}
				defer world.Close()
				if !uplink {
					err := world.Client.NS.Do(func() error {
						link, err := netlink.LinkByName(world.Client.Dev)
						if err != nil {
							return err
						}
						return netlink.LinkDel(link)
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				cfg := tracer.Config{Host: world.Host.NS, Devices: devices, Refuse: refuse}
				traced, err := tracer.Open(testContext(t), cfg, spec(world.Container("nginx")))
				if err == nil {
					defer traced.Close()
				}
				var unsupported *tracer.UnsupportedError
				if !errors.As(err, &unsupported) || unsupported.Needs == "" || !strings.Contains(err.Error(), string(refuse[1])+": not to be used in this run") {
					t.Errorf("%v; want what it needs, and what was tried", err)
				}
			})
		}
	}
}

// Journeys of host mode end at netfilter: where nobody takes it the run says what it needs.
func TestHostModeWithoutNetfilter(t *testing.T) {
	world, err := lab.New(testContext(t), lab.Config{Containers: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	cfg := tracer.Config{Host: world.Host.NS, Refuse: []tracer.Provider{tracer.ProviderNetfilter, tracer.ProviderTrampoline}}
	traced, err := tracer.Open(testContext(t), cfg, tracer.TargetSpec{Name: "host", Mode: "host", PID: os.Getpid(), Netns: world.Host.NS})
	if err == nil {
		defer traced.Close()
	}
	var unsupported *tracer.UnsupportedError
	if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), "netfilter links (Linux 6.4)") {
		t.Errorf("%v; want what it needs", err)
	}
}

// withoutNetfilter traces with borders of devices alone.
func withoutNetfilter(t *testing.T, cfg tracer.Config) tracer.Snapshot {
	t.Helper()
	s := newStage(t, lab.Config{
		Wire: lab.WireVeth, Names: []string{"nginx", "c2"},
		Ports: []lab.Port{{Host: 8080, Container: 80}, {Host: 7007, Container: 7, Proto: "udp"}},
	})
	cfg.Refuse = []tracer.Provider{tracer.ProviderNetfilter, tracer.ProviderTrampoline}
	s.open(cfg, "nginx", "c2")
	w := s.world
	s.exact(w.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{KeepAlive: true}))
	s.udp(w.Client, w.Host.IP4, 7007, 20)
	s.tcp(w.Container("nginx").Node, w.Container("c2").IP4, lab.PortEcho, 20)
	snapshot := s.stop()
	hops := ways(tracer.DetailDevices)
	for _, w := range []want{
		{direction: tracer.Ingress, protocol: "tcp", peer: "uplink", hops: hops["in uplink"]},
		{direction: tracer.Ingress, protocol: "udp", peer: "uplink", hops: hops["in uplink"], packets: 20},
		{direction: tracer.Egress, protocol: "udp", peer: "uplink", hops: hops["out uplink"], packets: 20},
		{direction: tracer.Egress, protocol: "tcp", peer: "container:c2", hops: hops["container"]},
	} {
		w.target = "nginx"
		expect(t, snapshot, w)
	}
	sameBetween(t, snapshot)
	if snapshot.Detail != tracer.DetailDevices {
		t.Errorf("detail %s", snapshot.Detail)
	}
	return snapshot
}
