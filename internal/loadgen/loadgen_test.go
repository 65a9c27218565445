// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/netns"
)

func TestMain(m *testing.M) {
	MaybeChild()
	os.Exit(m.Run())
}

// space is a namespace of its own with lo up, so that ports are free.
func space(t *testing.T) (*netns.Thread, *netns.NS) {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	thread := netns.NewThread()
	t.Cleanup(func() {
		thread.Close()
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := ns.Do(upLoopback); err != nil {
		t.Fatal(err)
	}
	return thread, ns
}

// home is where the servers listen.
func home() netip.Addr { return netip.MustParseAddr("127.0.0.1") }

// Every load of ours: exchanges are counted once each, their times add up to the
// round's, and a second round goes on with the same connections.
func TestExchanges(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("six=%t", six), func(t *testing.T) { testExchanges(t, six) })
	}
}

func testExchanges(t *testing.T, six bool) {
	thread, ns := space(t)
	server, err := Serve(thread, ns, 7001, -1, six)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	at := home()
	if six {
		at = netip.IPv6Loopback()
	}
	for _, load := range []Load{{Kind: TCPRR}, {Kind: UDPRR}, {Kind: Bulk}, {Kind: TCPRR, Connections: 4}, {Kind: UDPRR, Connections: 3}} {
		port := server.RR
		size := uint64(2)
		if load.Kind == Bulk {
			port, size = server.Bulk, BulkBytes+1
		}
		client, err := Open(thread, ns, load, netip.AddrPortFrom(at, port), -1)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			const length = 50 * time.Millisecond
			r, err := client.Run(length)
			if err != nil {
				t.Fatal(err)
			}
			n := r.Hist.Count()
			if n == 0 || r.Errors > 0 || r.Bytes != n*size {
				t.Errorf("%+v: %d exchanges of %d bytes, %d errors", load, n, r.Bytes, r.Errors)
			}
			// beside a round of one connection, and of no more: they would slow each other's
			if looked := r.Probes[0] > 0 && r.Probes[1] > 0; looked != (load.Connections <= 1) {
				t.Errorf("%+v: probes %v", load, r.Probes)
			}
			// each connection is never idle
			if sum, want := time.Duration(r.Hist.Sum), length*time.Duration(max(load.Connections, 1)); sum < want || r.Busy < length {
				t.Errorf("%+v: exchanges take %v together, want %v; busy %v", load, sum, want, r.Busy)
			}
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A delay of the client is in each exchange.
func TestClientDelay(t *testing.T) {
	thread, ns := space(t)
	server, err := Serve(thread, ns, 7001, -1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const delay = 2 * time.Millisecond
	client, err := Open(thread, ns, Load{Kind: TCPRR, ClientDelay: delay}, netip.AddrPortFrom(home(), 7001), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := client.Run(50 * time.Millisecond)
	if err != nil || r.Hist.Mean() < float64(delay) || r.Hist.Count() > 25 {
		t.Errorf("%d exchanges of %.0f ns, %v", r.Hist.Count(), r.Hist.Mean(), err)
	}
}

// web is an HTTP server in a namespace that counts its connections and stalls
// once, at its n-th request.
func web(t *testing.T, ns *netns.NS, stallAt int64, stall time.Duration) (to netip.AddrPort, requests, connections *atomic.Int64) {
	t.Helper()
	requests, connections = new(atomic.Int64), new(atomic.Int64)
	var listener net.Listener
	err := ns.Do(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var stalled atomic.Int64 // until when, ns
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if requests.Add(1) == stallAt {
				stalled.Store(time.Now().Add(stall).UnixNano())
			}
			time.Sleep(time.Until(time.Unix(0, stalled.Load())))
			_, _ = w.Write([]byte("hello"))
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		},
	}
	go func() { _ = server.Serve(listener) }() // until Close
	t.Cleanup(func() { server.Close() })
	return netip.AddrPortFrom(home(), 80), requests, connections
}

func TestHTTP(t *testing.T) {
	thread, ns := space(t)
	to, requests, connections := web(t, ns, 0, 0)
	for _, load := range []Load{{Kind: HTTP}, {Kind: HTTP, Connections: 4}, {Kind: HTTP, NewEach: true}} {
		requests.Store(0)
		connections.Store(0)
		client, err := Open(thread, ns, load, to, -1)
		if err != nil {
			t.Fatal(err)
		}
		r, err := client.Run(100 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		n := int64(r.Hist.Count())
		if n < 10 || r.Errors > 0 || n != requests.Load() || r.Bytes != uint64(5*n) {
			t.Errorf("%+v: %d answers of %d requests, %d bytes, %d errors: %s", load, n, requests.Load(), r.Bytes, r.Errors, r.Last)
		}
		want := int64(max(load.Connections, 1))
		if load.NewEach {
			want = n
		}
		if got := connections.Load(); got > want || got < 1 || load.NewEach && got != want {
			t.Errorf("%+v: %d connections, want %d", load, got, want)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An open loop sends all requests that are due, and counts from when they were:
// a server that stalls for 100 ms makes all wait that came meanwhile, although
// few connections were open (coordinated omission would hide it).
func TestOpenLoopHasNoOmission(t *testing.T) {
	thread, ns := space(t)
	const rate, length, stall = 1000, 300 * time.Millisecond, 100 * time.Millisecond
	to, requests, _ := web(t, ns, 100, stall)
	client, err := Open(thread, ns, Load{Kind: HTTP, Rate: rate, Connections: 2}, to, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := client.Run(length)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Hist.Count(); n != 300 || requests.Load() != 300 || r.Errors > 0 {
		t.Fatalf("%d answers of %d requests, %d errors: %s; want 300", n, requests.Load(), r.Errors, r.Last)
	}
	// a third was due in the stall, and waited 50 ms in the mean
	if mean := time.Duration(r.Hist.Mean()); mean < 12*time.Millisecond {
		t.Errorf("mean %v: those that were due while the server stalled did not wait", mean)
	}
	if p80, _ := r.Hist.Quantile(0.8); time.Duration(p80) < 30*time.Millisecond {
		t.Errorf("p80 %v", time.Duration(p80))
	}
}

func TestRefusals(t *testing.T) {
	thread, ns := space(t)
	nowhere := netip.AddrPortFrom(home(), 9)
	for text, load := range map[string]Load{
		"none that there is": {Kind: "ftp"},
		"connections":        {Kind: TCPRR, Connections: 1000},
		"only HTTP":          {Kind: UDPRR, Rate: 5},
		"not negative":       {Kind: HTTP, Rate: -1},
		"connection refused": {Kind: TCPRR},
	} {
		if _, err := Open(thread, ns, load, nowhere, -1); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v", load, err)
		}
	}
	client, err := Open(thread, ns, Load{Kind: HTTP}, nowhere, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if r, err := client.Run(10 * time.Millisecond); err != nil || r.Errors == 0 || r.Hist.Count() > 0 || !strings.Contains(r.Last, "refused") {
		t.Errorf("nobody listens: %d answers, %d errors, %q, %v", r.Hist.Count(), r.Errors, r.Last, err)
	}
}

func upLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
