// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/internal/lab/labbpf"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// Direction is a packet's way through a device.
type Direction int

// The directions of InjectTCX.
const (
	Ingress Direction = iota // into the stack
	Egress                   // out of it
)

// Injector is a program at one hook that makes packets wait by spinning.
type Injector struct {
	objs labbpf.LabObjects
	link link.Link
}

// InjectStats is what an injector did since it was attached.
type InjectStats struct {
	Seen    uint64        // packets that matched, delayed or not
	Stamped uint64        // of those, with a birth stamp (skb->tstamp)
	Delayed uint64        // packets delayed
	Waited  time.Duration // what the delayed packets really waited, summed
	Aged    time.Duration // how old those with a birth stamp were, summed; of a Look
}

// InjectNetfilter attaches an injector, switched off, to a netfilter hook of ns. family is
// link.NetfilterProtoIPv4 or IPv6, hook is link.NetfilterInetPreRouting and so on; at one priority nothing
// else may be attached.
func (w *World) InjectNetfilter(ns *netns.NS, family link.NetfilterProtocolFamily, hook link.NetfilterInetHook, priority int32) (*Injector, error) {
	return newInjector(func(objs *labbpf.LabObjects) (l link.Link, err error) {
		err = ns.Do(func() (err error) {
			l, err = link.AttachNetfilter(link.NetfilterOptions{
				Program: objs.DelayNetfilter, ProtocolFamily: family, Hook: hook, Priority: priority,
			})
			return err
		})
		return l, err
	})
}

// InjectTCX attaches an injector, switched off, to a device of node: before every program that is
// already there, or behind them.
func (w *World) InjectTCX(node *Node, dev string, dir Direction, before bool) (*Injector, error) {
	return newInjector(func(objs *labbpf.LabObjects) (link.Link, error) {
		anchor := link.Tail()
		if before {
			anchor = link.Head()
		}
		return node.attachTCX(objs.DelayTcx, dev, dir, anchor)
	})
}

// InjectNetifRx attaches an injector, switched off, behind all that is attached
// to the tracepoint netif_rx already; it delays packets to one device of node.
func (w *World) InjectNetifRx(node *Node, dev string) (*Injector, error) {
	found, err := node.nl.LinkByName(dev)
	if err != nil {
		return nil, fmt.Errorf("look up %s of %s: %w", dev, node.Name, err)
	}
	return newInjector(func(objs *labbpf.LabObjects) (link.Link, error) {
		err := errors.Join(set(objs.Ifindex, uint64(found.Attrs().Index)), set(objs.Netns, node.NS.Inode()))
		if err != nil {
			return nil, err
		}
		return link.AttachTracing(link.TracingOptions{Program: objs.DelayNetifRx})
	})
}

// LookNetfilter attaches a program that delays nothing, and sums up how old
// packets are at a netfilter hook of ns. Parameters are those of InjectNetfilter.
func (w *World) LookNetfilter(ns *netns.NS, family link.NetfilterProtocolFamily, hook link.NetfilterInetHook, priority int32) (*Injector, error) {
	return newInjector(func(objs *labbpf.LabObjects) (l link.Link, err error) {
		err = ns.Do(func() (err error) {
			l, err = link.AttachNetfilter(link.NetfilterOptions{
				Program: objs.AgeNetfilter, ProtocolFamily: family, Hook: hook, Priority: priority,
			})
			return err
		})
		return l, err
	})
}

// LookTCX does the same at a device of node; parameters are those of InjectTCX.
func (w *World) LookTCX(node *Node, dev string, dir Direction, before bool) (*Injector, error) {
	return newInjector(func(objs *labbpf.LabObjects) (link.Link, error) {
		anchor := link.Tail()
		if before {
			anchor = link.Head()
		}
		return node.attachTCX(objs.AgeTcx, dev, dir, anchor)
	})
}

func newInjector(attach func(*labbpf.LabObjects) (link.Link, error)) (*Injector, error) {
	inj := &Injector{}
	if err := labbpf.LoadLabObjects(&inj.objs, nil); err != nil {
		return nil, fmt.Errorf("load injector: %w", err)
	}
	l, err := attach(&inj.objs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach injector: %w", err), inj.objs.Close())
	}
	inj.link = l
	return inj, nil
}

func (n *Node) attachTCX(prog *ebpf.Program, dev string, dir Direction, anchor link.Anchor) (link.Link, error) {
	found, err := n.nl.LinkByName(dev)
	if err != nil {
		return nil, fmt.Errorf("look up %s of %s: %w", dev, n.Name, err)
	}
	at := ebpf.AttachTCXIngress
	if dir == Egress {
		at = ebpf.AttachTCXEgress
	}
	var l link.Link
	err = n.NS.Do(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{
			Interface: found.Attrs().Index, Program: prog, Attach: at, Anchor: anchor,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach to %s of %s: %w", dev, n.Name, err)
	}
	return l, nil
}

// Set makes every packet from now on wait for d; 0 switches the injector off. At most 100 ms, for
// the packets wait in softirq, where nothing else then runs on their CPU.
func (i *Injector) Set(d time.Duration) error {
	if d < 0 || d > 100*time.Millisecond {
		return fmt.Errorf("set delay: %v is not between 0 and 100ms", d)
	}
	return set(i.objs.DelayNs, uint64(d))
}

// Only restricts the injector to one IP protocol (unix.IPPROTO_UDP, ...); 0 lifts that.
func (i *Injector) Only(protocol uint8) error { return set(i.objs.Protocol, uint64(protocol)) }

func set(v *ebpf.Variable, n uint64) error {
	if err := v.Set(n); err != nil {
		return fmt.Errorf("set injector: %w", err)
	}
	return nil
}

// Stats reads the counters.
func (i *Injector) Stats() (InjectStats, error) {
	var s InjectStats
	var waited, aged uint64
	for _, c := range []struct {
		from *ebpf.Variable
		to   *uint64
	}{
		{i.objs.Seen, &s.Seen},
		{i.objs.Stamped, &s.Stamped},
		{i.objs.Delayed, &s.Delayed},
		{i.objs.DelayedNs, &waited},
		{i.objs.AgeNs, &aged},
	} {
		if err := c.from.Get(c.to); err != nil {
			return s, fmt.Errorf("read injector: %w", err)
		}
	}
	s.Waited, s.Aged = time.Duration(waited), time.Duration(aged)
	return s, nil
}

// Close detaches the injector.
func (i *Injector) Close() error { return errors.Join(i.link.Close(), i.objs.Close()) }

// clearedWire holds the program that clears birth stamps where the client sends. There, and not
// where the host receives, because nothing of the host's can then be attached before it.
type clearedWire struct {
	objs labbpf.LabObjects
	link link.Link
}

func newClearedWire(client *Node) (*clearedWire, error) {
	w := &clearedWire{}
	if err := labbpf.LoadLabObjects(&w.objs, nil); err != nil {
		return nil, fmt.Errorf("load stamp clearer: %w", err)
	}
	l, err := client.attachTCX(w.objs.ClearStamp, client.Dev, Egress, link.Tail())
	if err != nil {
		return nil, errors.Join(err, w.objs.Close())
	}
	w.link = l
	return w, nil
}

func (w *clearedWire) close() error { return errors.Join(w.link.Close(), w.objs.Close()) }
