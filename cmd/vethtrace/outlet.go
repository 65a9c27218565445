// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// patience is how long a write may still take once the run has been told to
// end. What follows, detaching, is to fit with it into two seconds.
const patience = 750 * time.Millisecond

// pieceSize is the most that is written at once: a reader that is slow, but
// reads, makes room for so much in time.
const pieceSize = 4096

// errStalled says that nobody reads what we write.
var errStalled = errors.New("standard output is not read: its reader has stalled, and the rest is lost")

// outlet is standard output with an end to patience: a pipe that nobody reads
// blocks a write for good, in the kernel, where no signal that we handle ends it.
type outlet struct {
	to io.Writer

	once   sync.Once
	hurry  chan struct{} // closed when the run has been told to end
	failed error         // what ended it: nothing is written after
}

func newOutlet(to io.Writer) *outlet { return &outlet{to: to, hurry: make(chan struct{})} }

// expire begins the end of patience.
func (o *outlet) expire() { o.once.Do(func() { close(o.hurry) }) }

// Write writes p, waits for its reader as long as it takes before expire, and
// returns errStalled when after it the reader takes nothing any more.
func (o *outlet) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) && o.failed == nil {
		piece := p[done:min(len(p), done+pieceSize)]
		var n int
		n, o.failed = o.piece(piece)
		done += n
	}
	return done, o.failed
}

// written is what came of a piece.
type written struct {
	n   int
	err error
}

func (o *outlet) piece(p []byte) (int, error) {
	p = append([]byte(nil), p...) // a write that is given up keeps it
	result := make(chan written, 1)
	go func() {
		n, err := o.to.Write(p)
		result <- written{n, err}
	}()
	select {
	case r := <-result:
		return r.n, r.err
	case <-o.hurry:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-result:
		return r.n, r.err
	case <-timer.C:
		return 0, errStalled
	}
}

// hear takes signals away from the loop, which a reader may block: it passes
// them on to the command, and when there is none, or it has ended, closes the
// channel that it returns: the run is to end. Behind deaf a second signal ends
// the process at once.
func hear(ctx context.Context, signals <-chan os.Signal, deaf func(), c *child, out *outlet) <-chan struct{} {
	told := make(chan struct{})
	go func() {
		ended, asked := c.done(), false
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				asked = true
				if ended != nil && c.forward(sig) {
					continue
				}
			case <-ended:
				if ended = nil; !asked {
					continue
				}
			}
			deaf()
			out.expire()
			close(told)
			return
		}
	}()
	return told
}
