// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// shift measures what an injector of d adds to the round trip of an echo: off and on alternate, and
// the median of the rounds' differences is taken, so that what else the machine does cancels out.
func shift(t *testing.T, w *World, inj *Injector, d time.Duration) time.Duration {
	t.Helper()
	to := netip.AddrPortFrom(w.Host.IP4, 7007)
	median := func(delay time.Duration) time.Duration {
		if err := inj.Set(delay); err != nil {
			t.Fatal(err)
		}
		res, err := w.Client.UDPEcho(t.Context(), to, 50, 8)
		if err != nil || res.Errors > 0 {
			t.Fatalf("UDP echo: %+v, %v", res.Last, err)
		}
		return res.Median()
	}
	var diffs Result
	for range 40 {
		diffs.add(-median(0)+median(d), nil)
	}
	return diffs.Median()
}

func echoWorld(t *testing.T, kind WireKind) *World {
	t.Helper()
	return newWorld(t, Config{Wire: kind, Ports: []Port{{Host: 7007, Container: 7, Proto: "udp"}}})
}

// near allows for what a round trip that takes longer costs by itself, on a busy machine: caches cool, others run.
// Half a delay or a second one it does not.
func near(got, want time.Duration) bool { return got >= want*85/100 && got <= want*150/100 }

func TestInjectorMovesTheRoundTrip(t *testing.T) {
	// long enough for the noise of a busy machine to be small beside it
	const delay, tries = 100 * time.Microsecond, 3
	w := echoWorld(t, WireVeth)
	hooks := map[string]struct {
		open func() (*Injector, error)
		per  int // passes of a round trip through the hook
	}{
		"netfilter/forward": {func() (*Injector, error) {
			return w.InjectNetfilter(w.Host.NS, link.NetfilterProtoIPv4, link.NetfilterInetForward, -10)
		}, 2},
		"tcx/ingress of uplink": {func() (*Injector, error) { return w.InjectTCX(w.Host, "eth0", Ingress, true) }, 1},
		"tcx/egress of docker0": {func() (*Injector, error) { return w.InjectTCX(w.Host, "docker0", Egress, false) }, 1},
	}
	for name, hook := range hooks {
		t.Run(name, func(t *testing.T) {
			inj, err := hook.open()
			if err != nil {
				t.Fatal(err)
			}
			defer inj.Close()
			if err := inj.Only(unix.IPPROTO_UDP); err != nil {
				t.Fatal(err)
			}
			want := time.Duration(hook.per) * delay
			got, rounds := shift(t, w, inj, delay), 1
			for ; rounds < tries && !near(got, want); rounds++ {
				got = shift(t, w, inj, delay)
			}
			if !near(got, want) {
				t.Errorf("round trip moved by %v, want %v, less 15%% or half as much more at most, %d times measured", got, want, rounds)
			}
			s, err := inj.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if n := uint64(2000 * hook.per * rounds); s.Delayed != n || s.Seen != 2*n {
				t.Errorf("%+v: want %d delayed and twice as many seen", s, n)
			}
			if mean := s.Waited / time.Duration(s.Delayed); mean < delay || mean > delay*2 {
				t.Errorf("mean wait %v, want %v or little more", mean, delay)
			}
		})
	}
}

func TestInjectorFilters(t *testing.T) {
	w := echoWorld(t, WireVeth)
	inj, err := w.InjectNetfilter(w.Host.NS, link.NetfilterProtoIPv4, link.NetfilterInetForward, -10)
	if err != nil {
		t.Fatal(err)
	}
	defer inj.Close()
	if err := inj.Only(unix.IPPROTO_TCP); err != nil {
		t.Fatal(err)
	}
	if res, err := w.Client.UDPEcho(t.Context(), netip.AddrPortFrom(w.Host.IP4, 7007), 20, 8); err != nil || res.Done != 20 {
		t.Fatalf("%+v, %v", res, err)
	}
	if s, err := inj.Stats(); err != nil || s.Seen != 0 {
		t.Errorf("TCP only, but saw %+v of UDP (%v)", s, err)
	}
	for _, d := range []time.Duration{-1, time.Second} {
		if inj.Set(d) == nil {
			t.Errorf("Set(%v) was accepted", d)
		}
	}
}

// What distinguishes the wires: only on plain veths does the client's birth stamp reach the host.
func TestBirthStamps(t *testing.T) {
	for _, kind := range wires {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t, Config{Wire: kind, Ports: []Port{{Host: 7007, Container: 7}}})
			carried := kind == WireVeth || kind == WireNIC
			tcx, err := w.InjectTCX(w.Host, "eth0", Ingress, true)
			if err != nil {
				t.Fatal(err)
			}
			defer tcx.Close()
			nf, err := w.InjectNetfilter(w.Host.NS, link.NetfilterProtoIPv4, link.NetfilterInetPreRouting, -500)
			if err != nil {
				t.Fatal(err)
			}
			defer nf.Close()
			if err := tcx.Only(unix.IPPROTO_TCP); err != nil {
				t.Fatal(err)
			}
			res, err := w.Client.TCPEcho(t.Context(), netip.AddrPortFrom(w.Host.IP4, 7007), 100, 1)
			if err != nil || res.Done != 100 {
				t.Fatalf("%+v, %v", res, err)
			}
			if s, err := tcx.Stats(); err != nil || s.Seen < 100 || stamped(s) != carried {
				t.Errorf("at the uplink: %+v (%v)", s, err)
			}
			// The replies pass PREROUTING too, stamped by the container's TCP on any wire.
			s, err := nf.Stats()
			if err != nil || (s.Stamped > 180) != carried {
				t.Errorf("at PREROUTING: %+v (%v)", s, err)
			}
		})
	}
}

// stamped reports whether the 100 requests of TestBirthStamps carried stamps. The rest of a
// connection may carry some or none.
func stamped(s InjectStats) bool { return s.Stamped >= 100 }
