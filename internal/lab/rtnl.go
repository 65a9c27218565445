// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// RTNLWatch is somebody else who changes a device all the time: how long each
// change took tells how long others held RTNL, the lock of all namespaces.
type RTNLWatch struct {
	ns    *netns.NS
	stop  chan struct{}
	done  chan error
	waits []time.Duration
}

// WatchRTNL changes a device of a namespace of its own about once a
// millisecond, as an `ip link set` would, until Stop.
func WatchRTNL() (*RTNLWatch, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	w := &RTNLWatch{ns: ns, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { w.done <- ns.Do(w.change) }()
	return w, nil
}

func (w *RTNLWatch) change() error {
	lo, err := netlink.LinkByName("lo")
	for turn := 0; err == nil; turn++ {
		select {
		case <-w.stop:
			return nil
		case <-time.After(time.Millisecond):
		}
		begin := time.Now()
		err = netlink.LinkSetAlias(lo, fmt.Sprint("turn ", turn)) // under RTNL, and nothing else
		w.waits = append(w.waits, time.Since(begin))
	}
	return err
}

// Stop ends the watch and returns how long each change took. Call it once.
func (w *RTNLWatch) Stop() ([]time.Duration, error) {
	close(w.stop)
	err := <-w.done
	if err := errors.Join(err, w.ns.Close()); err != nil {
		return nil, fmt.Errorf("watch RTNL: %w", err)
	}
	return w.waits, nil
}
