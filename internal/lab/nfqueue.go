// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_queue.h.
const (
	nfqnlConfig     = 3<<8 | 2 // NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
	nfqnlVerdict    = 3<<8 | 1
	nfqaCfgCmd      = 1
	nfqaCfgParams   = 2
	nfqaPacketHdr   = 1
	nfqaVerdictHdr  = 2
	nfqnlBind       = 1
	nfqnlCopyMeta   = 1
	nfAccept        = 1
	nfgenSize       = 4
	nfqueueTimeout  = 5 * time.Second
	nfqueueBuffer   = 64 << 10
	nfqueueParamLen = 5
)

// Queue is an NFQUEUE of a node: packets wait in it until they are let go.
type Queue struct {
	fd     int
	number uint16
	held   []uint32
}

// BindQueue makes the queue of that number work; a rule with "-j NFQUEUE --queue-num" fills it.
func (n *Node) BindQueue(number uint16) (*Queue, error) {
	q := &Queue{fd: -1, number: number}
	err := n.NS.Do(func() (err error) {
		q.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bind NFQUEUE %d of %s: %w", number, n.Name, err)
	}
	tv := unix.NsecToTimeval(nfqueueTimeout.Nanoseconds())
	params := make([]byte, nfqueueParamLen)
	binary.BigEndian.PutUint32(params, 64)
	params[4] = nfqnlCopyMeta
	err = errors.Join(
		unix.SetsockoptTimeval(q.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		q.ask(nfqaCfgCmd, []byte{nfqnlBind, 0, 0, 0}),
		q.ask(nfqaCfgParams, params),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bind NFQUEUE %d of %s: %w", number, n.Name, err), q.Close())
	}
	return q, nil
}

// message makes one netlink message with one attribute.
func (q *Queue) message(kind, flags, attr uint16, data []byte) []byte {
	m := make([]byte, unix.NLMSG_HDRLEN+nfgenSize+unix.SizeofNlAttr, unix.NLMSG_HDRLEN+nfgenSize+unix.SizeofNlAttr+8)
	binary.BigEndian.PutUint16(m[unix.NLMSG_HDRLEN+2:], q.number)
	binary.NativeEndian.PutUint16(m[unix.NLMSG_HDRLEN+nfgenSize:], uint16(unix.SizeofNlAttr+len(data)))
	binary.NativeEndian.PutUint16(m[unix.NLMSG_HDRLEN+nfgenSize+2:], attr)
	m = append(m, data...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	return m
}

// ask changes the queue and waits for the kernel's answer.
func (q *Queue) ask(attr uint16, data []byte) error {
	m := q.message(nfqnlConfig, unix.NLM_F_ACK, attr, data)
	if err := unix.Sendto(q.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	in := make([]byte, 256)
	n, _, err := unix.Recvfrom(q.fd, in, 0)
	switch {
	case err != nil:
		return err
	case n < unix.NLMSG_HDRLEN+4:
		return errors.New("short answer")
	}
	if code := int32(binary.NativeEndian.Uint32(in[unix.NLMSG_HDRLEN:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// Await waits until so many packets more wait in the queue, at most 5 s for each.
func (q *Queue) Await(count int) error {
	in := make([]byte, nfqueueBuffer)
	for want := len(q.held) + count; len(q.held) < want; {
		n, _, err := unix.Recvfrom(q.fd, in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for packets in NFQUEUE %d, %d are there: %w", q.number, len(q.held), err)
		}
		at := unix.NLMSG_HDRLEN + nfgenSize
		for at+unix.SizeofNlAttr+4 <= n {
			size, kind := int(binary.NativeEndian.Uint16(in[at:])), binary.NativeEndian.Uint16(in[at+2:])
			if kind == nfqaPacketHdr {
				q.held = append(q.held, binary.BigEndian.Uint32(in[at+unix.SizeofNlAttr:]))
				break
			}
			at += max(unix.SizeofNlAttr, (size+3)&^3)
		}
	}
	return nil
}

// Release lets all that waits go on: in the order it came, or the last one first.
func (q *Queue) Release(backwards bool) error {
	for len(q.held) > 0 {
		at := 0
		if backwards {
			at = len(q.held) - 1
		}
		data := make([]byte, 8)
		binary.BigEndian.PutUint32(data, nfAccept)
		binary.BigEndian.PutUint32(data[4:], q.held[at])
		q.held = append(q.held[:at], q.held[at+1:]...)
		m := q.message(nfqnlVerdict, 0, nfqaVerdictHdr, data)
		if err := unix.Sendto(q.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("let packets of NFQUEUE %d go: %w", q.number, err)
		}
	}
	return nil
}

// Close unbinds the queue: the kernel drops what waits in it.
func (q *Queue) Close() error { return unix.Close(q.fd) }
