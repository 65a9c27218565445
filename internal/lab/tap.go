// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// maxFrame holds the longest frame a tap of the default MTU gives, with a VLAN tag.
const maxFrame = 2048

// tapWire carries frames between two taps: one goroutine, blocked in read, per direction. At most
// one frame per direction is in its hands; the rest waits in the taps' own bounded queues.
type tapWire struct {
	ends []tapEnd
	pump sync.WaitGroup
	once sync.Once
	err  error
}

// tapEnd is a tap device and the descriptor that is its cable.
type tapEnd struct {
	node *Node
	fd   int
}

// newTapWire makes the taps. The host's runs NAPI, as a NIC does.
func newTapWire(client, host *Node) (*tapWire, error) {
	c, err := openTap(client, 0)
	if err != nil {
		return nil, err
	}
	h, err := openTap(host, unix.IFF_NAPI)
	if err != nil {
		unix.Close(c.fd)
		return nil, err
	}
	w := &tapWire{ends: []tapEnd{c, h}}
	w.pump.Add(2)
	go w.carry(c.fd, h.fd)
	go w.carry(h.fd, c.fd)
	return w, nil
}

// openTap makes a tap named like the node's uplink inside the node. Its descriptor blocks: a thread
// in read is woken by the kernel directly, not by way of the runtime's poller.
func openTap(n *Node, flags uint16) (tapEnd, error) {
	end := tapEnd{node: n, fd: -1}
	err := n.NS.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(n.Dev)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		end.fd = fd
		return nil
	})
	if err != nil {
		return end, fmt.Errorf("make tap %s of %s: %w", n.Dev, n.Name, err)
	}
	return end, nil
}

// carry moves frames until its source is gone. What the other end refuses is lost, as on a wire.
func (w *tapWire) carry(from, to int) {
	defer w.pump.Done()
	frame := make([]byte, maxFrame)
	for {
		n, err := unix.Read(from, frame)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.EIO): // the device is down, which ends no cable
			continue
		case err != nil:
			return
		}
		_, _ = unix.Write(to, frame[:n])
	}
}

// close deletes the devices, which wakes both readers for good, and then closes their descriptors;
// closing a descriptor wakes nobody who is blocked in it.
func (w *tapWire) close() error {
	w.once.Do(func() {
		for _, end := range w.ends {
			link, err := end.node.nl.LinkByName(end.node.Dev)
			if err == nil {
				err = end.node.nl.LinkDel(link)
			}
			if err != nil {
				w.err = errors.Join(w.err, fmt.Errorf("delete tap of %s: %w", end.node.Name, err))
			}
		}
		if w.err != nil {
			return // readers still blocked: waiting for them would hang
		}
		w.pump.Wait()
		for _, end := range w.ends {
			unix.Close(end.fd)
		}
	})
	return w.err
}

// Sink is a tap whose frames somebody takes out of the kernel, and nothing comes back.
type Sink struct {
	wire *tapWire
}

// AddSink makes one in a node.
func (n *Node) AddSink(dev string) (*Sink, error) {
	at := *n
	at.Dev = dev
	end, err := openTap(&at, 0)
	if err != nil {
		return nil, err
	}
	s := &Sink{wire: &tapWire{ends: []tapEnd{end}}}
	s.wire.pump.Go(func() { s.wire.swallow(end.fd) })
	found, err := n.nl.LinkByName(dev)
	if err == nil {
		err = n.nl.LinkSetUp(found)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s of %s: %w", dev, n.Name, err), s.Close())
	}
	return s, nil
}

// Close deletes the device.
func (s *Sink) Close() error { return s.wire.close() }

// swallow takes frames until the device is gone.
func (w *tapWire) swallow(from int) {
	frame := make([]byte, maxFrame)
	for {
		_, err := unix.Read(from, frame)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EIO) {
			return
		}
	}
}
