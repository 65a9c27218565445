// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// World is a client, a host and containers. Its fields are set by New and changed by AddContainer
// and RemoveContainer only; the methods may be called from several goroutines.
type World struct {
	Client     *Node
	Host       *Node
	Containers []*Container
	Wire       WireKind

	cfg      Config
	mu       sync.Mutex
	thread   *netns.Thread // starts all children
	wire     wire
	bridges  map[string]*bridge
	rules    map[bool]bool // whether a family (true: IPv6) has its base rules
	stacked  int           // devices upon the uplink
	procs    []*child      // host-mode servers and proxies
	close    sync.Once
	closeErr error
}

// New makes a world and returns when all its servers listen. When it fails, or ctx ends before,
// nothing of the world stays.
func New(ctx context.Context, cfg Config) (*World, error) {
	w := &World{
		cfg: cfg.withDefaults(), Wire: cfg.Wire, thread: netns.NewThread(),
		bridges: make(map[string]*bridge), rules: make(map[bool]bool),
	}
	if err := w.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make world: %w", err), w.Close())
	}
	return w, nil
}

func (w *World) build(ctx context.Context) (err error) {
	if w.Client, err = newNode("client"); err != nil {
		return err
	}
	if w.Host, err = newNode("host"); err != nil {
		return err
	}
	if err := w.setHost(); err != nil {
		return err
	}
	if w.wire, err = connect(w.cfg.Wire, w.Client, w.Host); err != nil {
		return err
	}
	if err := w.address(); err != nil {
		return err
	}
	if err := w.Client.awaitPeer(ctx, w.Host.IP6); err != nil || w.cfg.Bare {
		return err
	}
	if err := w.addBridge(ctx, w.cfg.Bridge, netip.MustParsePrefix("172.17.0.0/16")); err != nil {
		return err
	}
	for i, name := range w.cfg.Names {
		cc := ContainerConfig{Name: name}
		if i == 0 {
			cc.Ports = w.cfg.Ports
		}
		if _, err := w.addContainer(ctx, cc); err != nil {
			return fmt.Errorf("add container %s: %w", name, err)
		}
	}
	return ctx.Err()
}

// setHost makes the host a router. A new namespace inherits some of these from the machine, and
// others not, so all are written.
func (w *World) setHost() error {
	forward := "1"
	if w.cfg.Bare {
		forward = "0" // which makes an engine set FORWARD to DROP, as on a fresh machine
	}
	if err := w.Host.Sysctl("net/ipv4/ip_forward", forward); err != nil {
		return err
	}
	if w.cfg.IPv6 {
		if err := w.Host.Sysctl("net/ipv6/conf/all/forwarding", forward); err != nil {
			return err
		}
	}
	want := w.cfg.BridgeNFCallIptables
	value := "0"
	if want == nil || *want {
		value = "1"
	}
	for _, family := range []string{"ip", "ip6", "arp"} {
		err := w.Host.Sysctl("net/bridge/bridge-nf-call-"+family+"tables", value)
		if want == nil && errors.Is(err, os.ErrNotExist) {
			w.cfg.Log.Warn("br_netfilter is not loaded: bridged packets pass no iptables rules")
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// address gives the wire's ends their addresses, and the client its way to everything else.
func (w *World) address() error {
	p := wirePlan()
	w.Client.IP4, w.Host.IP4 = p.client4.Addr(), p.host4.Addr()
	err := errors.Join(
		w.Client.addAddr(w.Client.Dev, p.client4),
		w.Host.addAddr(w.Host.Dev, p.host4),
	)
	if err == nil {
		err = w.Client.defaultRoute(w.Host.IP4)
	}
	if err != nil || !w.cfg.IPv6 {
		return err
	}
	w.Client.IP6, w.Host.IP6 = p.client6.Addr(), p.host6.Addr()
	err = errors.Join(
		w.Client.addAddr(w.Client.Dev, p.client6),
		w.Host.addAddr(w.Host.Dev, p.host6),
	)
	if err != nil {
		return err
	}
	return w.Client.defaultRoute(w.Host.IP6)
}

// Container returns the container of that name, or nil.
func (w *World) Container(name string) *Container {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.find(name); i >= 0 {
		return w.Containers[i]
	}
	return nil
}

func (w *World) find(name string) int {
	return slices.IndexFunc(w.Containers, func(c *Container) bool { return c.Name == name })
}

// Close kills the children, stops the wire and drops the namespaces. The kernel takes the
// namespaces and their devices away shortly after. A second Close returns the same.
func (w *World) Close() error {
	w.close.Do(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		var errs []error
		for _, p := range w.procs {
			p.kill()
		}
		for _, c := range w.Containers {
			errs = append(errs, c.destroy())
		}
		if w.wire != nil {
			errs = append(errs, w.wire.close())
		}
		for _, n := range []*Node{w.Client, w.Host} {
			if n != nil {
				errs = append(errs, n.close())
			}
		}
		w.thread.Close()
		w.closeErr = errors.Join(errs...)
	})
	return w.closeErr
}
