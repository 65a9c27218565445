// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// A reader that takes nothing ends a write only when the run is to end, and
// nothing is written behind what was lost.
func TestOutletOfAStalledReader(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	o := newOutlet(w)
	result := make(chan error, 1)
	go func() {
		_, err := o.Write(make([]byte, 3*pieceSize))
		result <- err
	}()
	select {
	case err := <-result:
		t.Fatalf("a write without a reader ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	begin := time.Now()
	o.expire()
	o.expire()
	if err := <-result; !errors.Is(err, errStalled) {
		t.Fatalf("got %v, want %v", err, errStalled)
	}
	if took := time.Since(begin); took < patience || took > 10*patience {
		t.Errorf("took %s, want %s", took, patience)
	}
	if n, err := o.Write([]byte("more")); n != 0 || !errors.Is(err, errStalled) {
		t.Errorf("after it: %d, %v", n, err)
	}
}

// A reader that is slow gets everything, also after the end was asked for.
func TestOutletOfASlowReader(t *testing.T) {
	r, w := io.Pipe()
	o := newOutlet(w)
	o.expire()
	want := bytes.Repeat([]byte("0123456789abcdef"), pieceSize/4)
	go func() {
		n, err := o.Write(want)
		if n != len(want) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		w.Close()
	}()
	var got bytes.Buffer
	for {
		time.Sleep(patience / 4)
		if _, err := io.CopyN(&got, r, pieceSize); err != nil {
			break
		}
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("read %d bytes, want %d", got.Len(), len(want))
	}
}

// The writer's own errors come through, and end it.
func TestOutletOfAClosedReader(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	o := newOutlet(w)
	for range 2 {
		if n, err := o.Write([]byte("x")); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%d, %v", n, err)
		}
	}
}

func expired(o *outlet) bool {
	select {
	case <-o.hurry:
		return true
	default:
		return false
	}
}

// A signal ends the run and patience with its reader; with a command it goes to
// the command, and the command's end ends patience.
func TestHear(t *testing.T) {
	signals := make(chan os.Signal, 1)
	o := newOutlet(io.Discard)
	told := hear(t.Context(), signals, func() { signal.Stop(signals) }, nil, o)
	signals <- syscall.SIGTERM
	<-told
	if !expired(o) {
		t.Error("patience goes on")
	}

	cmd := exec.Command("sh", "-c", `trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	o = newOutlet(io.Discard)
	signals = make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	told = hear(t.Context(), signals, func() { signal.Stop(signals) }, c, o)
	signals <- syscall.SIGTERM
	<-told
	if !expired(o) {
		t.Error("patience goes on after the command's end")
	}
	if s := new(statusError); !errors.As(c.status(), &s) || s.status != 7 {
		t.Errorf("the command did not get the signal: %v", c.status())
	}
}
