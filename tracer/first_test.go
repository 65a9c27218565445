package tracer_test

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

func TestFirst(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg := lab.Config{}
	if os.Getenv("WIRE") == "tap" {
		cfg.Wire = lab.WireTap
	}
	w, err := lab.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := w.Containers[0]
	begin := time.Now()
	tr, err := tracer.Open(ctx, tracer.Config{Host: w.Host.NS, Detail: tracer.Detail(os.Getenv("DETAIL"))}, tracer.TargetSpec{
		Name: "nginx", Mode: "bridge", PID: c.PID, Netns: c.NS,
		Ports: []tracer.Port{{Host: netip.AddrPortFrom(netip.Addr{}, 8080), Container: 80, Protocol: "tcp"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	t.Log("open took", time.Since(begin))
	r, err := w.Client.HTTP(ctx, "http://198.51.100.1:8080/", 5000, lab.LoadConfig{KeepAlive: true})
	t.Log(r.Done, r.Errors, err)
	ru, err := w.Host.UDPEcho(ctx, netip.AddrPortFrom(c.IP4, 7), 100, 32)
	t.Log(ru.Done, ru.Errors, err)
	time.Sleep(1500 * time.Millisecond)
	begin = time.Now()
	if err := tr.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Log("stop took", time.Since(begin))
	s, err := tr.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	text.Write(os.Stdout, s, text.Options{Width: 130})
}
