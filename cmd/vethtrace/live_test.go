// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/exporter/tui"
	"github.com/vethtrace/vethtrace/tracer"
)

// A terminal that is stopped (Ctrl-S) takes nothing: the loop goes on, and a
// signal ends the run within its patience.
func TestLiveOfAStoppedTerminal(t *testing.T) {
	restored := 0
	feed, gone, hurry := make(chan tui.Update, 1), make(chan struct{}), make(chan struct{})
	// the view's end is what does not come: it waits in a write
	live := &liveSink{feed: feed, gone: gone, hurry: hurry, restore: func() { restored++ }, gate: &gate{}}

	begin, taken := time.Now(), 0
	for range 30 {
		if live.updates() {
			taken++
			if err := live.update(tracer.Snapshot{}, tracer.Snapshot{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("30 updates took %s: the loop waits for the terminal", took)
	}
	if taken != 1 {
		t.Errorf("%d updates were taken, want 1: nothing is drawn", taken)
	}
	if <-feed; !live.updates() {
		t.Error("no update is wanted although the last one was drawn")
	}
	ended := make(chan error, 1)
	go func() { ended <- live.end() }()
	select {
	case err := <-ended:
		t.Fatalf("ended while nobody asked for it: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	begin = time.Now()
	close(hurry)
	select {
	case err := <-ended:
		if !errors.Is(err, errStalled) {
			t.Errorf("got %v, want %v", err, errStalled)
		}
	case <-time.After(10 * patience):
		t.Fatal("the end waits for the terminal")
	}
	if took := time.Since(begin); took > 10*patience || restored != 1 {
		t.Errorf("terminal restored %d times; took %s, want %s", restored, took, patience)
	}
}
