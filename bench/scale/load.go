// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
)

// floodPort is where nobody reads.
const floodPort = 9009

// flood sends so many datagrams a second from the host to these containers in
// turns, for that long, and returns how many it sent.
func flood(host *lab.Node, to []*lab.Container, perSecond int, length time.Duration) (sent int, err error) {
	var sinks []int
	defer func() {
		for _, fd := range sinks {
			unix.Close(fd)
		}
	}()
	for _, c := range to {
		fd, err := sink(c)
		if err != nil {
			return 0, err
		}
		sinks = append(sinks, fd)
	}
	err = host.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket: %w", err)
		}
		defer unix.Close(fd)
		sent, err = paced(fd, to, perSecond, length)
		return err
	})
	return sent, err
}

// sink opens a socket whose packets wait until there is no room for more.
func sink(c *lab.Container) (fd int, err error) {
	err = c.NS.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: floodPort})
	})
	if err != nil {
		return -1, fmt.Errorf("open a sink in %s: %w", c.Name, err)
	}
	return fd, nil
}

func paced(fd int, to []*lab.Container, perSecond int, length time.Duration) (sent int, err error) {
	var addresses []unix.SockaddrInet4
	for _, c := range to {
		addresses = append(addresses, unix.SockaddrInet4{Port: floodPort, Addr: netip.Addr.As4(c.IP4)})
	}
	payload := make([]byte, 32)
	begin := time.Now()
	for {
		passed := time.Since(begin)
		if passed >= length {
			return sent, nil
		}
		for due := int(passed.Seconds() * float64(perSecond)); sent < due; sent++ {
			if err := unix.Sendto(fd, payload, 0, &addresses[sent%len(addresses)]); err != nil {
				return sent, fmt.Errorf("send: %w", err)
			}
		}
		time.Sleep(200 * time.Microsecond)
	}
}
