// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// quits stands between SIGQUIT and Go, which at it prints what each goroutine
// does: that tells a user nothing. It ends this process as SIGTERM does, or goes
// to a run that has a command to pass it on to. A nil one leaves it to Go.
type quits struct {
	mu sync.Mutex
	to chan<- os.Signal // who listens; nil: nobody
}

// catchQuits begins, until the function that it returns is called.
func catchQuits() (*quits, func()) {
	q := &quits{}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGQUIT)
	go func() {
		for sig := range caught {
			q.dispatch(sig)
		}
	}()
	return q, func() {
		signal.Stop(caught)
		close(caught)
	}
}

func (q *quits) dispatch(sig os.Signal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.to == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) // to ourselves: always permitted
		return
	}
	select {
	case q.to <- sig:
	default: // as package signal does: it has not even taken the ones before
	}
}

// listen makes a channel of the signals that end a run, until the function that
// it returns is called: behind it the next one ends the process at once.
func (q *quits) listen() (<-chan os.Signal, func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	q.direct(signals)
	return signals, sync.OnceFunc(func() {
		signal.Stop(signals)
		q.direct(nil)
	})
}

func (q *quits) direct(to chan<- os.Signal) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.to = to
}
