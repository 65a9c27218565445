// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// MaybeChild turns the process into a lab child, and never returns, if it was started as one.
// main, and TestMain of each package that makes worlds, call it first.
func MaybeChild() {
	raw, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	if err := runChild([]byte(raw)); err != nil {
		fmt.Println(err) // standard output is what the parent reads
		os.Exit(1)
	}
	os.Exit(0)
}

// runChild starts the servers, says so, and lives until its standard input ends: a second cord,
// beside the parent-death signal, that is cut when the parent dies.
func runChild(raw []byte) error {
	var o orders
	if err := json.Unmarshal(raw, &o); err != nil {
		return fmt.Errorf("decode orders: %w", err)
	}
	// Through /proc, because the name shown is that of the leading thread, and this may be another.
	if err := os.WriteFile("/proc/self/comm", []byte(o.Comm), 0o644); err != nil {
		return fmt.Errorf("set process name: %w", err)
	}
	var err error
	switch {
	case o.Serve != nil:
		err = o.Serve.start()
	case o.Proxy != nil:
		err = o.Proxy.start()
	}
	if err != nil {
		return err
	}
	fmt.Println(readyLine)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}
