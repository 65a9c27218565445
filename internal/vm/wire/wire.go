// SPDX-License-Identifier: Apache-2.0

// Package wire is what the host and a guest say to each other: the host puts a
// Plan into the guest's file system, the guest writes Messages, a line of JSON
// each, to a serial port of its own.
package wire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// PlanFile is where the guest finds its Plan.
const PlanFile = "/plan.json"

// Port is where a guest of an architecture writes Messages: the console of arm64
// is of another kind and takes no number.
func Port(arch string) string {
	if arch == "arm64" {
		return "/dev/ttyS0"
	}
	return "/dev/ttyS1"
}

// Emulated is set in the environment of what runs in a guest: no test may say
// there how long something takes.
const Emulated = "VETHTRACE_EMULATED"

// Plan is what a guest is to do before it switches itself off.
type Plan struct {
	Modules []string      `json:"modules"` // files, in the order in which they are loaded
	Runs    []Run         `json:"runs"`    // one after the other
	Limit   time.Duration `json:"limit"`   // after which the guest switches itself off, whatever happens
}

// Run is a program to run.
type Run struct {
	Name  string        `json:"name"`
	Dir   string        `json:"dir"`
	Argv  []string      `json:"argv"`
	Limit time.Duration `json:"limit"` // after which it is killed, with what it started
	Again bool          `json:"again"` // where it fails, it is run once more
}

// Kind is what a message tells.
type Kind string

// The kinds of messages.
const (
	Booted Kind = "booted" // Text is the kernel's release
	Begin  Kind = "begin"  // Name is the run's
	Output Kind = "output" // Text is a line of the run's, without its end
	End    Kind = "end"    // Status is the run's
	Failed Kind = "failed" // Text is what keeps the guest from going on
	Off    Kind = "off"    // all is done
)

// Message is what a guest tells.
type Message struct {
	Kind    Kind    `json:"kind"`
	Name    string  `json:"name,omitempty"`
	Text    string  `json:"text,omitempty"`
	Stderr  bool    `json:"stderr,omitempty"` // of output: written to standard error
	Status  int     `json:"status,omitempty"` // of a run: its exit status, -1 if it was killed
	Limit   bool    `json:"limit,omitempty"`  // of a run: it was killed because it took too long
	Seconds float64 `json:"seconds,omitempty"`
}

// longestLine is more than the longest thing that programs write: a document in one line.
const longestLine = 16 << 20

// Read calls take with each message until there are no more. What is no message
// goes to other: firmware and kernels write to serial ports too.
func Read(r io.Reader, take func(Message), other func(line string)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), longestLine)
	for lines.Scan() {
		var m Message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil || m.Kind == "" {
			other(lines.Text())
			continue
		}
		take(m)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read from the guest: %w", err)
	}
	return nil
}
