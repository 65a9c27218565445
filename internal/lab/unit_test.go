// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		in    Config
		names []string
		ports int
	}{
		{Config{}, []string{"nginx"}, 1},
		{Config{Containers: 3}, []string{"nginx", "c2", "c3"}, 1},
		{Config{Names: []string{"a", "b"}}, []string{"a", "b"}, 1},
		{Config{Containers: 2, Names: []string{"a"}, Ports: []Port{}}, []string{"a", "c2"}, 0},
		{Config{Containers: -1}, []string{}, 1},
	} {
		got := c.in.withDefaults()
		if diff := cmp.Diff(c.names, got.Names); diff != "" || len(got.Ports) != c.ports {
			t.Errorf("%+v: %s, %d ports", c.in, diff, len(got.Ports))
		}
		if got.Bridge != "docker0" || got.Log == nil {
			t.Errorf("%+v: defaults missing: %+v", c.in, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	var r Result
	if r.Median() != 0 {
		t.Error("median of nothing")
	}
	for i := 100; i > 0; i-- {
		r.add(time.Duration(i), nil)
	}
	r.add(0, errors.New("lost"))
	if r.Done != 100 || r.Errors != 1 || r.Last == nil {
		t.Errorf("counts: %d done, %d errors", r.Done, r.Errors)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := r.Quantile(q); got != want {
			t.Errorf("quantile %v = %d, want %d", q, got, want)
		}
	}
	if r.RTT[0] != 100 {
		t.Error("the quantile has sorted the caller's slice")
	}
}

func TestChecksum(t *testing.T) {
	msg := echoRequest(8, 0x1234, 7)
	if checksum(msg) != 0 { // a message with its right checksum sums to zero
		t.Errorf("checksum of %x is %x", msg[:8], checksum(msg))
	}
	reply := append([]byte(nil), msg...)
	reply[0] = 0
	withIP := append([]byte{0x46, 23: 0}, reply...) // a header with one option word
	for _, c := range []struct {
		p    []byte
		head bool
		want bool
	}{
		{reply, false, true},
		{withIP, true, true},
		{msg, false, false},
		{withIP[:26], true, false},
		{nil, false, false},
		{nil, true, false},
		{[]byte{0x4f}, true, false},
		{reply[:7], false, false},
	} {
		if got := isEchoReply(c.p, c.head, 0, 0x1234, 7); got != c.want {
			t.Errorf("isEchoReply(%x, %v) = %v", c.p, c.head, got)
		}
	}
	if isEchoReply(reply, false, 0, 0x1234, 8) {
		t.Error("another number was taken")
	}
}

func FuzzIsEchoReply(f *testing.F) {
	f.Add(echoRequest(0, 1, 1), true)
	f.Add([]byte{0x4f, 0}, true)
	f.Fuzz(func(_ *testing.T, p []byte, head bool) { isEchoReply(p, head, 0, 1, 1) })
}

func TestContainerAddresses(t *testing.T) {
	four := netip.MustParseAddr("172.17.0.2")
	if got := sixOf(0, four); got != netip.MustParseAddr("2001:db8:17::242:ac11:2") {
		t.Errorf("IPv6 of the first container is %s", got)
	}
	if got := sixOf(2, netip.IPv4Unspecified()); got != netip.MustParseAddr("2001:db8:19::") {
		t.Errorf("prefix of the third bridge is %s", got)
	}
	if got := containerMAC(four).String(); got != "02:42:ac:11:00:02" {
		t.Errorf("MAC is %s", got)
	}
}

func TestLoadsStop(t *testing.T) {
	w := newWorld(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	to := netip.AddrPortFrom(w.Containers[0].IP4, PortEcho)
	res, err := w.Host.TCPEcho(ctx, to, 1<<30>>8, 1)
	if !errors.Is(err, context.DeadlineExceeded) || res.Done == 0 {
		t.Errorf("TCP echo: %d done, %v", res.Done, err)
	}
	if _, err := w.Host.HTTP(ctx, "http://172.17.0.2/", 1000, LoadConfig{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("HTTP: %v", err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	if _, err := w.Host.TCPEcho(t.Context(), netip.AddrPortFrom(w.Containers[0].IP4, 9), 1, 1); err == nil {
		t.Error("a closed port echoes")
	}
	if res, err := w.Host.TCPConnects(t.Context(), netip.AddrPortFrom(w.Containers[0].IP4, 9), 3); err != nil || res.Errors != 3 {
		t.Errorf("connects to a closed port: %+v %v", res, err)
	}
	if _, err := w.Host.Dial(t.Context(), "tcp", "localhost:80"); err == nil {
		t.Error("dialed a name")
	}
}

func TestNewIsCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
