// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

func TestMain(m *testing.M) {
	MaybeChild()
	os.Exit(m.Run())
}

// newLoopback is a namespace whose lo is up.
func newLoopback(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	err = ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func way(ns *netns.NS, port uint16) Way {
	return Way{Kind: KindTCP, Client: ns, Server: ns, Listen: port, Dial: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
}

func received(t *testing.T, ns *netns.NS) (packets uint64) {
	t.Helper()
	err := ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			packets = lo.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

// Every round trip is two packets, on the way that was asked for and no other.
func TestPlay(t *testing.T) {
	one, two := newLoopback(t), newLoopback(t)
	game, err := Start(0, way(one, 7001), way(two, 7002))
	if err != nil {
		t.Fatal(err)
	}
	defer game.Close()
	// acknowledgements of the first answers are delayed; the handshake was before
	before := [2]uint64{received(t, one), received(t, two)}
	span, err := game.Play(1, 3, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if len(span.Trips) != 3 || len(span.Ns) != 3 {
		t.Fatalf("asked for 3 windows, got %+v", span)
	}
	if len(span.Probes) != 4 || slices.Contains(span.Probes, 0) {
		t.Errorf("probes %v around 3 windows", span.Probes)
	}
	for i := range span.Trips {
		if span.Trips[i] == 0 || time.Duration(span.Ns[i]) < 20*time.Millisecond {
			t.Errorf("window %d: %d round trips in %v", i, span.Trips[i], time.Duration(span.Ns[i]))
		}
	}
	var took time.Duration
	for _, ns := range span.Ns {
		took += time.Duration(ns)
	}
	// where others take the CPU for longer than 40 ms, an acknowledgement does not wait for its answer
	packets, late := received(t, two)-before[1], 2+2*uint64(took/(40*time.Millisecond))
	if low := 2 * span.Total(); packets < low || packets > low+late {
		t.Errorf("%d round trips in %v were %d packets, want %d (and at most %d late acknowledgements)", span.Total(), took, packets, low, late)
	}
	if other := received(t, one) - before[0]; other > 1 {
		t.Errorf("the other way had %d packets", other)
	}
	if _, err := game.Play(0, 1, time.Millisecond); err != nil {
		t.Errorf("play on the other way: %v", err)
	}
}

// Datagrams, and IPv6: two packets per round trip there, too.
func TestPlayWays(t *testing.T) {
	ns := newLoopback(t)
	var ways []Way
	for i, w := range []struct {
		kind Kind
		dial string
	}{{KindUDP, "127.0.0.1"}, {KindTCP, "::1"}, {KindUDP, "::1"}} {
		port := uint16(7001 + i)
		ways = append(ways, Way{
			Kind: w.kind, Client: ns, Server: ns, Listen: port, Dial: netip.AddrPortFrom(netip.MustParseAddr(w.dial), port),
		})
	}
	game, err := Start(0, ways...)
	if err != nil {
		t.Fatal(err)
	}
	defer game.Close()
	for i, w := range ways {
		before := received(t, ns)
		span, err := game.Play(i, 2, 10*time.Millisecond)
		if err != nil {
			t.Fatalf("%s to %s: %v", w.Kind, w.Dial, err)
		}
		// acknowledgements of the handshakes may come late
		if packets, want := received(t, ns)-before, 2*span.Total(); packets < want || packets > want+4 || want == 0 {
			t.Errorf("%s to %s: %d packets for %d round trips", w.Kind, w.Dial, packets, span.Total())
		}
	}
}

func TestConnectionsAreIPv4(t *testing.T) {
	w := way(newLoopback(t), 7001)
	w.Kind, w.Dial = KindConnections, netip.MustParseAddrPort("[::1]:7001")
	game, err := Start(0, w)
	if err == nil {
		game.Close()
		t.Fatal("connections to IPv6 were accepted")
	}
	if !strings.Contains(err.Error(), "IPv4") {
		t.Errorf("says %v, want that it must be IPv4", err)
	}
}

// Both players stay on the CPU that was asked for.
func TestPlayersAreBound(t *testing.T) {
	ns := newLoopback(t)
	cpu := firstAllowed(t)
	game, err := Start(cpu, way(ns, 7001))
	if err != nil {
		t.Fatal(err)
	}
	defer game.Close()
	if _, err := game.Play(0, 1, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/" + itoa(game.PID()) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	bound := 0
	for _, task := range tasks {
		raw, err := os.ReadFile("/proc/" + itoa(game.PID()) + "/task/" + task.Name() + "/status")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "Cpus_allowed_list:\t"+itoa(cpu)+"\n") {
			bound++
		}
	}
	if bound < 2 {
		t.Errorf("%d threads are bound to CPU %d, want client and server", bound, cpu)
	}
}

func firstAllowed(t *testing.T) int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			return cpu
		}
	}
	t.Fatal("no CPU is allowed")
	return 0
}

func TestPlayErrors(t *testing.T) {
	ns := newLoopback(t)
	game, err := Start(0, way(ns, 7001))
	if err != nil {
		t.Fatal(err)
	}
	defer game.Close()
	if _, err := game.Play(3, 1, time.Millisecond); err == nil || !strings.Contains(err.Error(), "no way 3") {
		t.Errorf("a way that does not exist: %v", err)
	}
	if _, err := game.Play(0, 1, time.Millisecond); err != nil {
		t.Errorf("after an error: %v", err)
	}
}

func TestStartErrors(t *testing.T) {
	ns := newLoopback(t)
	nobody := way(ns, 7001)
	nobody.Dial = netip.MustParseAddrPort("127.0.0.1:7999")
	if _, err := Start(0, nobody); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v, want %v", err, unix.ECONNREFUSED)
	}
}

// When the players die, the parent is told and does not hang.
func TestDeadPlayers(t *testing.T) {
	ns := newLoopback(t)
	game, err := Start(0, way(ns, 7001))
	if err != nil {
		t.Fatal(err)
	}
	defer game.Close()
	if err := unix.Kill(game.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := game.Play(0, 1, time.Millisecond); err == nil {
		t.Error("dead players answered")
	}
}

func TestChildRefusesNonsense(t *testing.T) {
	if err := runChild([]byte("{"), strings.NewReader(""), &strings.Builder{}); err == nil {
		t.Error("orders that are no JSON were accepted")
	}
}

// Every kind is played on its own ways, window after window, and its units are packets that were really sent.
func TestKinds(t *testing.T) {
	for kind, packets := range map[Kind]uint64{
		KindUDP: 2, KindFlood: 1, KindHTTP: 2,
		KindConnections: 9, // three to connect, the byte and its answer, their acknowledgements, what closes it and the reset
	} {
		t.Run(string(kind), func(t *testing.T) {
			ns := newLoopback(t)
			w := way(ns, 7001)
			w.Kind = kind
			game, err := Start(firstAllowed(t), w)
			if err != nil {
				t.Fatal(err)
			}
			defer game.Close()
			before := received(t, ns)
			var total uint64
			for range 2 { // the second begins where the first one ended
				span, err := game.Play(0, 3, 10*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				for i, units := range span.Trips {
					if units == 0 || time.Duration(span.Ns[i]) < 10*time.Millisecond {
						t.Errorf("window %d: %d units in %v", i, units, time.Duration(span.Ns[i]))
					}
				}
				total += span.Total()
			}
			got := received(t, ns) - before
			// requests that were in flight at the end are no units, their answers still come; where others keep a player
			// waiting, TCP acknowledges without data
			if slack := uint64(2*connections*3+8) + packets*total/10; got < packets*total*3/4 || got > packets*total+slack {
				t.Errorf("%d units were %d packets, want about %d", total, got, packets*total)
			}
		})
	}
}

// The players' own HTTP is such that another client understands it.
func TestHTTPIsHTTP(t *testing.T) {
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(httpResponse())), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || len(body) != 612 {
		t.Errorf("status %d, %d bytes, %v", response.StatusCode, len(body), err)
	}
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(httpRequest)))
	if err != nil {
		t.Fatal(err)
	}
	if request.Method != http.MethodGet || request.Close {
		t.Errorf("%s, close %v: want a GET that keeps the connection", request.Method, request.Close)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
