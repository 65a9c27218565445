// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bench/peers/peersbpf"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// Place is where the event-printing tracer stamps: at a device, or at an end of a netfilter hook.
type Place struct {
	NS     *netns.NS
	Device string // tcx at this device; empty: netfilter
	Egress bool
	Hook   link.NetfilterInetHook
	First  bool // before all that is registered at Hook; else behind it
}

// ring is our re-creation of an event-printing tracer.
type ring struct {
	objects peersbpf.RingObjects
	links   []link.Link // held: one that nothing references detaches itself
	reader  *ringbuf.Reader
	out     *os.File
	printed uint64 // by print; read it after done
	done    chan error
}

// StartRing attaches an event-printing tracer at these places, and at
// netif_rx of the whole machine. It prints each event, to /dev/null.
func StartRing(places []Place) (_ Peer, err error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	r := &ring{done: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := peersbpf.LoadRingObjects(&r.objects, nil); err != nil {
		return nil, fmt.Errorf("load the event-printing tracer: %w", err)
	}
	if r.reader, err = ringbuf.NewReader(r.objects.RingEvents); err != nil {
		return nil, fmt.Errorf("open the ring of events: %w", err)
	}
	if r.out, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return nil, fmt.Errorf("open where events are printed: %w", err)
	}
	rx, err := link.AttachTracing(link.TracingOptions{Program: r.objects.RingNetifRx})
	if err != nil {
		return nil, fmt.Errorf("attach at netif_rx: %w", err)
	}
	r.links = append(r.links, rx)
	for _, place := range places {
		attached, err := place.attach(r.objects.RingTcx, r.objects.RingNetfilter)
		if err != nil {
			return nil, err
		}
		r.links = append(r.links, attached)
	}
	go func() { r.done <- r.print() }()
	return r, nil
}

func (p Place) attach(tcx, netfilter *ebpf.Program) (attached link.Link, err error) {
	err = p.NS.Do(func() error {
		if p.Device == "" {
			priority := int32(math.MaxInt32 - 1)
			if p.First {
				priority = math.MinInt32 + 1
			}
			attached, err = link.AttachNetfilter(link.NetfilterOptions{
				Program: netfilter, ProtocolFamily: unix.NFPROTO_IPV4, Hook: p.Hook, Priority: priority,
			})
			return err
		}
		device, err := net.InterfaceByName(p.Device)
		if err != nil {
			return err
		}
		where := ebpf.AttachTCXIngress
		if p.Egress {
			where = ebpf.AttachTCXEgress
		}
		attached, err = link.AttachTCX(link.TCXOptions{Interface: device.Index, Program: tcx, Attach: where})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach at device %q, netfilter hook %d: %w", p.Device, p.Hook, err)
	}
	return attached, nil
}

// print writes a line per event until the reader is flushed.
func (r *ring) print() error {
	out := bufio.NewWriter(r.out)
	var record ringbuf.Record
	for {
		err := r.reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			return out.Flush()
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if len(record.RawSample) != int(unsafe.Sizeof(peersbpf.RingRingEvent{})) {
			return fmt.Errorf("an event of %d bytes", len(record.RawSample))
		}
		printEvent(out, record.RawSample)
		r.printed++
	}
}

// printEvent prints what such tracers print: time, packet, place, addresses.
func printEvent(out io.Writer, raw []byte) {
	event := (*peersbpf.RingRingEvent)(unsafe.Pointer(&raw[0])) // aligned: a slice of its own, longer than 8 bytes
	ends := raw[unsafe.Offsetof(event.Source):]
	source := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ends[0:4])), binary.BigEndian.Uint16(ends[8:10]))
	target := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ends[4:8])), binary.BigEndian.Uint16(ends[10:12]))
	fmt.Fprintf(out, "%d.%09d +%d %#x cpu %d pid %d hook %d netns %d if %d mtu %d mark %#x %s > %s proto %d len %d\n",
		event.Ns/1e9, event.Ns%1e9, event.Since, event.Skb, event.Cpu, event.Pid, event.Hook,
		event.Netns, event.Ifindex, event.Mtu, event.Mark, source, target, event.Protocol, event.Length)
}

// Stop implements Peer.
func (r *ring) Stop() (seen Seen, err error) {
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.detach(); err != nil {
		return seen, err
	}
	if err := r.reader.Flush(); err != nil {
		return seen, fmt.Errorf("flush the ring of events: %w", err)
	}
	if err := <-r.done; err != nil {
		return seen, err
	}
	seen.Events = r.printed
	if err := r.objects.RingLost.Get(&seen.Lost); err != nil {
		return seen, fmt.Errorf("read how many events were lost: %w", err)
	}
	seen.Events += seen.Lost
	return seen, nil
}

func (r *ring) detach() error {
	var errs []error
	for _, attached := range r.links {
		errs = append(errs, attached.Close())
	}
	r.links = nil
	return errors.Join(errs...)
}

func (r *ring) close() error {
	errs := []error{r.detach()}
	if r.reader != nil {
		errs = append(errs, r.reader.Close())
	}
	if r.out != nil {
		errs = append(errs, r.out.Close())
	}
	return errors.Join(append(errs, r.objects.Close())...)
}
