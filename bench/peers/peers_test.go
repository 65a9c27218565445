// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/bench/peers/peersbpf"
	"github.com/vethtrace/vethtrace/internal/lab"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	os.Exit(m.Run())
}

// exchanges of one byte between the world's client and its container.
const exchanges = 500

func newWorld(t *testing.T) (*lab.World, func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	w, err := lab.New(ctx, lab.Config{Wire: lab.WireNIC, Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, func() {
		t.Helper()
		res, err := w.Client.UDPEcho(ctx, netip.AddrPortFrom(w.Host.IP4, 7007), exchanges, 1)
		if err != nil || res.Done != exchanges {
			t.Fatalf("%+v, %v", res, err)
		}
	}
}

// saw holds what a peer saw against what each exchange must have shown it. Other traffic of the machine may add to it.
func saw(t *testing.T, peer Peer, each uint64) {
	t.Helper()
	seen, err := peer.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if seen.Events < each*exchanges || seen.Lost > 0 {
		t.Errorf("%+v, want %d events of %d exchanges, none lost", seen, each*exchanges, exchanges)
	}
}

func TestBpftrace(t *testing.T) {
	_, play := newWorld(t)
	peer, err := StartBpftrace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	play()
	saw(t, peer, 8)
}

func TestTcpdumps(t *testing.T) {
	w, play := newWorld(t)
	dir := t.TempDir()
	peer, err := StartTcpdumps(t.Context(), w.Host.NS, dir, "eth0", "docker0", w.Containers[0].HostDev)
	if err != nil {
		t.Fatal(err)
	}
	play()
	written(t, dir)
	saw(t, peer, 6)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files stay: %v, %v", left, err)
	}
}

// written waits until the packets are in three files.
func written(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcap"))
		if err != nil {
			t.Fatal(err)
		}
		full := 0
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && info.Size() >= 4096 {
				full++
			}
		}
		if full == 3 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %v hold packets, want 3", full, files)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestTcpdumpsFailTogether(t *testing.T) {
	w, _ := newWorld(t)
	dir := t.TempDir()
	_, err := StartTcpdumps(t.Context(), w.Host.NS, dir, "eth0", "nothere")
	if err == nil || !strings.Contains(err.Error(), "nothere") {
		t.Errorf("a device that is not there: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("files stay: %v, %v", left, err)
	}
}

func TestRing(t *testing.T) {
	w, play := newWorld(t)
	host, container := w.Host.NS, w.Containers[0].NS
	peer, err := StartRing([]Place{
		{NS: host, Device: "eth0"},
		{NS: host, Hook: link.NetfilterInetForward, First: true},
		{NS: host, Hook: link.NetfilterInetForward},
		{NS: container, Device: "eth0", Egress: true},
		{NS: container, Hook: link.NetfilterInetLocalIn},
	})
	if err != nil {
		t.Fatal(err)
	}
	play()
	saw(t, peer, 1+2+2+1+1+2) // twice FORWARD's ends, twice netif_rx
}

func TestRingErrors(t *testing.T) {
	w, _ := newWorld(t)
	if _, err := StartRing([]Place{{NS: w.Host.NS, Device: "nothere"}}); err == nil || !strings.Contains(err.Error(), "nothere") {
		t.Errorf("a device that is not there: %v", err)
	}
}

func TestPrintEvent(t *testing.T) {
	var event peersbpf.RingRingEvent
	event.Ns, event.Since, event.Skb, event.Hook, event.Ifindex = 1_000_000_002, 300, 0xabc, 2, 4
	event.Netns, event.Protocol, event.Length = 5, 6, 53
	event.Cpu, event.Pid, event.Mtu, event.Mark = 1, 77, 1500, 9
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&event)), unsafe.Sizeof(event))
	copy(raw[unsafe.Offsetof(event.Source):], []byte{192, 0, 2, 1, 198, 51, 100, 2, 0x1f, 0x90, 0, 80})
	var out strings.Builder
	printEvent(&out, raw)
	want := "1.000000002 +300 0xabc cpu 1 pid 77 hook 2 netns 5 if 4 mtu 1500 mark 0x9 192.0.2.1:8080 > 198.51.100.2:80 proto 6 len 53\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestParseHistograms(t *testing.T) {
	seen, err := parseHistograms([]string{
		"ERROR: couldn't set RLIMIT_MEMLOCK",
		`{"type": "attached_probes", "data": {"probes": 5}}`,
		`{"type": "lost_events", "data": {"events": 3}}`,
		`{"type": "hist", "data": {"@hop": {"-1,2": [{"min": 1, "max": 2, "count": 5}, {"min": 3, "max": 4, "count": 6}], "3,4": [{"count": 1}]}}}`,
	})
	if err != nil || seen != (Seen{Events: 12, Lost: 3}) {
		t.Errorf("%+v, %v", seen, err)
	}
	if _, err := parseHistograms([]string{`{"type": "hist", "data": 7}`}); err == nil {
		t.Error("no histograms were accepted")
	}
}

func TestParseCaptured(t *testing.T) {
	seen, err := parseCaptured([]string{
		"tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes",
		"1 packet captured", "20 packets received by filter", "4 packets dropped by kernel",
	})
	if err != nil || seen != (Seen{Events: 20, Lost: 4}) {
		t.Errorf("%+v, %v", seen, err)
	}
	if _, err := parseCaptured([]string{"killed"}); err == nil {
		t.Error("a tcpdump that says nothing was accepted")
	}
}

func TestProcessErrors(t *testing.T) {
	if _, err := startProcess(t.Context(), nil, "ready", "sh", "-c", "echo bad luck >&2; exit 3"); err == nil ||
		!strings.Contains(err.Error(), "bad luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a program that ends at once: %v", err)
	}
	if _, err := startProcess(t.Context(), nil, "ready", "/nonexistent/program"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startProcess(ctx, nil, "ready", "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}
