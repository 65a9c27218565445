// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// tried runs a script as in a guest, and returns what is told of it.
func tried(t *testing.T, script string, limit time.Duration) (end wire.Message, output []wire.Message) {
	t.Helper()
	var out bytes.Buffer
	teller := &teller{w: &out}
	teller.tell(run(teller, wire.Run{Name: "a", Dir: filepath.Join(t.TempDir(), "made"), Argv: []string{"/bin/sh", "-c", script}, Limit: limit}))
	err := wire.Read(&out, func(m wire.Message) {
		if m.Name != "a" {
			t.Errorf("%+v", m)
		}
		if m.Kind == wire.End {
			end = m
			return
		}
		output = append(output, m)
	}, func(line string) { t.Errorf("%q is no message", line) })
	if err != nil {
		t.Fatal(err)
	}
	return end, output
}

// All that a program writes is told, by line, and how it ended.
func TestRun(t *testing.T) {
	end, output := tried(t, `pwd; echo '{"a":1}'; echo wrong >&2; printf 'no end'; exit 3`, time.Minute)
	if end.Status != 3 || end.Limit || end.Text != "exit status 3" || end.Seconds <= 0 {
		t.Errorf("%+v", end)
	}
	var out, msg []string
	for _, m := range output {
		if m.Stderr {
			msg = append(msg, m.Text)
		} else {
			out = append(out, m.Text)
		}
	}
	if len(out) != 3 || filepath.Base(out[0]) != "made" || out[1] != `{"a":1}` || out[2] != "no end" || strings.Join(msg, "") != "wrong" {
		t.Errorf("%q %q", out, msg)
	}
	if end, _ := tried(t, "exit 0", time.Minute); end.Status != 0 || end.Text != "" {
		t.Errorf("%+v", end)
	}
}

// What takes too long is ended with all that it has started.
func TestRunEndsWhatTakesTooLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	end, _ := tried(t, `sleep 600 & echo $! >"`+file+`"; wait`, 2*time.Second)
	if !end.Limit || end.Status != -1 {
		t.Errorf("%+v", end)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !gone(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what it had started is still there")
		}
	}
}

// gone tells whether a process has ended; it may be a zombie until somebody waits for it.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// A program that is not there is told as such.
func TestRunOfAMissingProgram(t *testing.T) {
	m := run(&teller{w: &bytes.Buffer{}}, wire.Run{Dir: t.TempDir(), Argv: []string{"/nonexistent"}, Limit: time.Minute})
	if m.Status != -1 || m.Text == "" {
		t.Errorf("%+v", m)
	}
}

// What cannot be loaded as a module is an error that names the file.
func TestInsertOfNoModule(t *testing.T) {
	file := filepath.Join(t.TempDir(), "no.ko")
	if err := insert(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(file, []byte("no module"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := insert(file)
	var errno syscall.Errno
	if !errors.As(err, &errno) || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}
