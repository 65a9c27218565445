// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Capture reads every packet of a device by a packet socket, as tcpdump does.
type Capture struct {
	fd    int
	count atomic.Uint64
	done  chan struct{}
}

// Capture starts to capture at a device of the node, until Close.
func (n *Node) Capture(dev string) (*Capture, error) {
	c := &Capture{fd: -1, done: make(chan struct{})}
	fd, err := n.packetSocket(dev, unix.ETH_P_ALL)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	c.fd = fd
	// the reader notices within this time that it is to end
	tv := unix.NsecToTimeval(20e6)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("capture: %w", err)
	}
	go c.read()
	return c, nil
}

func (c *Capture) read() {
	buf := make([]byte, 128)
	for {
		select {
		case <-c.done:
			c.done <- struct{}{}
			return
		default:
		}
		if _, err := unix.Read(c.fd, buf); err == nil {
			c.count.Add(1)
		}
	}
}

// Count is how many packets were captured: each once per direction.
func (c *Capture) Count() uint64 { return c.count.Load() }

// Close ends it.
func (c *Capture) Close() error {
	c.done <- struct{}{}
	<-c.done
	return unix.Close(c.fd)
}

// SendFrames sends a frame count times by a packet socket at a device of the node: past its stack.
func (n *Node) SendFrames(dev string, frame []byte, count int) error {
	fd, err := n.packetSocket(dev, 0)
	if err != nil {
		return fmt.Errorf("send frames: %w", err)
	}
	defer unix.Close(fd)
	for range count {
		if _, err := unix.Write(fd, frame); err != nil {
			return fmt.Errorf("send frames by %s of %s: %w", dev, n.Name, err)
		}
	}
	return nil
}

// packetSocket opens a packet socket at a device; protocol 0 receives nothing.
func (n *Node) packetSocket(dev string, protocol uint16) (int, error) {
	found, err := n.nl.LinkByName(dev)
	if err != nil {
		return -1, fmt.Errorf("look up %s of %s: %w", dev, n.Name, err)
	}
	fd := -1
	err = n.NS.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		big := protocol<<8 | protocol>>8
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: big, Ifindex: found.Attrs().Index}); err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open packet socket at %s of %s: %w", dev, n.Name, err)
	}
	return fd, nil
}

// HardwareAddr is the address of a device of the node.
func (n *Node) HardwareAddr(dev string) (net.HardwareAddr, error) {
	found, err := n.nl.LinkByName(dev)
	if err != nil {
		return nil, fmt.Errorf("look up %s of %s: %w", dev, n.Name, err)
	}
	return found.Attrs().HardwareAddr, nil
}
