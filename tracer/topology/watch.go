// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long link updates are gathered before the links are read again:
// one `docker run` makes a dozen of them within a few milliseconds.
const settle = 20 * time.Millisecond

// calmFactor is how many times as long as reading the links took is waited
// before they are read again: among a thousand devices something changes often.
const calmFactor = 100

// ChangeKind tells what happened to a link.
type ChangeKind uint8

// The kinds of changes.
const (
	Added   ChangeKind = iota // is new, or came from another namespace
	Removed                   // was removed, or went to another namespace
	Renamed                   // has another name, maybe other attributes too
	Altered                   // has another master, parent, state, XDP, GRO or queueing discipline
)

// String returns added, removed, renamed or altered.
func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Renamed:
		return "renamed"
	case Altered:
		return "altered"
	}
	return fmt.Sprintf("ChangeKind(%d)", k)
}

// Change is what happened to one link of a namespace.
type Change struct {
	Kind ChangeKind
	Link Link // as it is now; as it was last, when removed. Without addresses
	Old  Link // as it was before Renamed and Altered
	Err  error
}

// Watch reports changes of a namespace's links until ctx ends; then it closes
// the channel. It starts from the links there are when Watch returns.
//
// Updates are coalesced, however slowly the channel is read: a link that came
// and went between two reads is not reported, and netlink is never kept waiting.
// When the links can no longer be read, the last Change has Err set and the
// channel is closed.
//
// The watch keeps the namespace alive until ctx ends.
func Watch(ctx context.Context, ns Entry) (<-chan Change, error) {
	w := &watcher{dirty: make(chan struct{}, 1), failed: make(chan error, 1), out: make(chan Change)}
	err := ns.Do(func() error { return w.open() })
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	if w.known, err = w.read(); err != nil {
		w.close()
		return nil, fmt.Errorf("watch links: %w", err)
	}
	go w.listen()
	go w.run(ctx)
	return w.out, nil
}

// watcher has two sockets of the namespace: one for updates, which only say
// that something changed, one for reading the links. A lost update (ENOBUFS)
// then costs nothing.
type watcher struct {
	updates *netlink.Conn
	query   *netlink.Conn
	ethtool int // socket of the namespace for ioctls
	known   []Link
	dirty   chan struct{}
	failed  chan error
	out     chan Change
}

func (w *watcher) open() (err error) {
	w.updates, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		return fmt.Errorf("subscribe to link updates: %w", err)
	}
	w.query, err = netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		w.updates.Close()
		return fmt.Errorf("open netlink: %w", err)
	}
	w.ethtool, err = openEthtool()
	if err != nil {
		w.updates.Close()
		w.query.Close()
	}
	return err
}

func (w *watcher) close() {
	w.updates.Close()
	w.query.Close()
	unix.Close(w.ethtool)
}

func (w *watcher) read() ([]Link, error) {
	links, err := readLinks(w.query)
	if err != nil {
		return nil, err
	}
	return links, readOffloads(w.ethtool, links)
}

// listen empties the update socket as fast as it fills.
func (w *watcher) listen() {
	for {
		_, err := w.updates.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			if !errors.Is(err, os.ErrClosed) && !errors.Is(err, net.ErrClosed) {
				w.failed <- err
			}
			return
		}
		select {
		case w.dirty <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	defer w.close()
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-w.failed:
			w.send(ctx, Change{Err: fmt.Errorf("watch links: %w", err)})
			return
		case <-w.dirty:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(settle, calmFactor*took)):
		}
		begin := time.Now()
		now, err := w.read()
		took = time.Since(begin)
		if err != nil {
			w.send(ctx, Change{Err: fmt.Errorf("watch links: %w", err)})
			return
		}
		for _, c := range diff(w.known, now) {
			if !w.send(ctx, c) {
				return
			}
		}
		w.known = now
	}
}

func (w *watcher) send(ctx context.Context, c Change) bool {
	select {
	case <-ctx.Done():
		return false
	case w.out <- c:
		return true
	}
}

// diff tells what changed between two lists of links, each by index: what is
// gone first, so that a name is free before another link is said to have it.
func diff(old, now []Link) []Change {
	var changes []Change
	before := Namespace{Links: old}
	after := Namespace{Links: now}
	for _, l := range old {
		if n := after.ByIndex(l.Index); n == nil || !sameDevice(l, *n) {
			changes = append(changes, Change{Kind: Removed, Link: l})
		}
	}
	for _, l := range now {
		o := before.ByIndex(l.Index)
		switch {
		case o == nil || !sameDevice(*o, l):
			changes = append(changes, Change{Kind: Added, Link: l})
		case o.Name != l.Name:
			changes = append(changes, Change{Kind: Renamed, Link: l, Old: *o})
		case o.state() != l.state():
			changes = append(changes, Change{Kind: Altered, Link: l, Old: *o})
		}
	}
	return changes
}

// sameDevice tells whether two links of one index can be the same device: an
// index is free again after its device is gone.
func sameDevice(a, b Link) bool { return a.Kind == b.Kind && a.Ethernet == b.Ethernet }

// state is what Altered compares.
type state struct {
	master, parent, netnsID int
	up, xdp, gro            bool
	qdisc                   string
}

func (l Link) state() state {
	return state{
		master: l.Master, parent: l.Parent, netnsID: l.ParentNetnsID,
		up: l.Up, xdp: l.XDP, gro: l.GRO, qdisc: l.Qdisc,
	}
}
