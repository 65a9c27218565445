// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/internal/lab/labbpf"
)

// Witness counts, at one device and independently of any tracer, what packets went through there.
type Witness struct {
	objs  labbpf.WitnessObjects
	links []link.Link
	names map[uint64]string // of reasons to drop, by number
}

// Seen is what a witness has counted.
type Seen struct {
	Received    uint64   // handed to the stack behind the device
	ByCPU       []uint64 // the same
	Reused      uint64   // of those, in an skb whose address another one had before
	Shared      uint64   // of those, sharing their data with a copy
	Large       uint64   // of those, standing for several packets of the wire
	GRO         uint64   // given to napi_gro_receive
	Queued      uint64   // to be sent by the device
	QueuedLarge uint64   // of those, to be cut into several packets of the wire
	Sent        uint64   // given to the driver (net_dev_start_xmit)
	Crossed     uint64   // come out of a veth (netif_rx)
	Future      uint64   // of those, with a birth stamp over 1 us ahead of the clock
	Longest     uint64   // bytes of the largest one to be sent

	Dropped map[string]uint64 // freed by the kernel, by its own name of the reason (NO_SOCKET)
}

// Witness watches a device of the node, or with "" all of them.
func (n *Node) Witness(dev string) (*Witness, error) {
	index := 0
	if dev != "" {
		found, err := n.nl.LinkByName(dev)
		if err != nil {
			return nil, fmt.Errorf("look up %s of %s: %w", dev, n.Name, err)
		}
		index = found.Attrs().Index
	}
	spec, err := labbpf.LoadWitness()
	if err != nil {
		return nil, fmt.Errorf("read witness: %w", err)
	}
	err = errors.Join(
		spec.Variables["witness_netns"].Set(uint32(n.NS.Inode())),
		spec.Variables["witness_ifindex"].Set(uint32(index)),
	)
	if err != nil {
		return nil, fmt.Errorf("configure witness: %w", err)
	}
	w := &Witness{}
	if w.names, err = reasons(); err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&w.objs, nil); err != nil {
		return nil, fmt.Errorf("load witness: %w", err)
	}
	for _, p := range []*ebpf.Program{w.objs.OnReceive, w.objs.OnGro, w.objs.OnQueue, w.objs.OnXmit, w.objs.OnCrossing, w.objs.OnDrop} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach witness: %w", err), w.Close())
		}
		w.links = append(w.links, l)
	}
	return w, nil
}

// Seen reads the counters.
func (w *Witness) Seen() (Seen, error) {
	var s Seen
	var received [64]uint64
	var dropped [256]uint64
	for _, c := range []struct {
		from *ebpf.Variable
		to   any
	}{
		{w.objs.Received, &received},
		{w.objs.Reused, &s.Reused},
		{w.objs.Shared, &s.Shared},
		{w.objs.Large, &s.Large},
		{w.objs.Gro, &s.GRO},
		{w.objs.Queued, &s.Queued},
		{w.objs.QueuedLarge, &s.QueuedLarge},
		{w.objs.Sent, &s.Sent},
		{w.objs.Crossed, &s.Crossed},
		{w.objs.Future, &s.Future},
		{w.objs.Longest, &s.Longest},
		{w.objs.Dropped, &dropped},
	} {
		if err := c.from.Get(c.to); err != nil {
			return s, fmt.Errorf("read witness: %w", err)
		}
	}
	s.ByCPU = received[:]
	for _, n := range received {
		s.Received += n
	}
	s.Dropped = map[string]uint64{}
	for number, n := range dropped {
		if n > 0 {
			s.Dropped[w.names[uint64(number)]] += n
		}
	}
	return s, nil
}

// reasons are the kernel's own names of why it frees a packet.
func reasons() (map[uint64]string, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	var enum *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil, fmt.Errorf("read the kernel's reasons to drop: %w", err)
	}
	names := map[uint64]string{}
	for _, v := range enum.Values {
		names[v.Value] = strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
	}
	return names, nil
}

// Close detaches the witness.
func (w *Witness) Close() error {
	var errs []error
	for _, l := range w.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, w.objs.Close())...)
}
