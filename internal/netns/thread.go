// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"runtime"
	"sync"
)

// ErrThreadClosed is returned by Thread.Do after Close, or when the thread was lost.
var ErrThreadClosed = errors.New("namespace thread is closed")

// Thread is one locked thread that lives until Close and runs functions one after the other, each
// in a namespace. Processes started with SysProcAttr.Pdeathsig need it: that signal comes when the
// *thread* that started them ends, and any other thread of a Go process may end at any time.
type Thread struct {
	work   chan job
	closed chan struct{}
	ended  chan struct{}
	once   sync.Once
}

// job is a function with a place and with where its outcome goes.
type job struct {
	ns   *NS
	fn   func() error
	done chan<- error
}

// NewThread starts the thread.
func NewThread() *Thread {
	t := &Thread{work: make(chan job), closed: make(chan struct{}), ended: make(chan struct{})}
	go t.loop()
	return t
}

func (t *Thread) loop() {
	defer close(t.ended)
	runtime.LockOSThread()
	for {
		select {
		case <-t.closed:
			runtime.UnlockOSThread()
			return
		case j := <-t.work:
			if t.run(j) {
				return // still locked: the thread dies with this goroutine
			}
		}
	}
}

func (t *Thread) run(j job) (lost bool) {
	trip := excursion{err: errExited}
	defer func() { j.done <- trip.err }()
	if j.ns == nil {
		trip.err = j.fn()
	} else {
		trip.run(j.ns.enter, j.fn)
	}
	return trip.lost
}

// Do runs fn on the thread inside ns (nil: where the process is) and returns its error.
func (t *Thread) Do(ns *NS, fn func() error) error {
	done := make(chan error, 1)
	select {
	case <-t.ended:
		return ErrThreadClosed
	case <-t.closed:
		return ErrThreadClosed
	case t.work <- job{ns: ns, fn: fn, done: done}:
		return <-done
	}
}

// Close ends the thread after the function it is running. A second Close does nothing.
func (t *Thread) Close() {
	t.once.Do(func() { close(t.closed) })
	<-t.ended
}
