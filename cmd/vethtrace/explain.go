// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// What can be given where nothing was found.
const (
	howNetns = "give a path, or a name that ip netns or Docker knows (see /run/netns)"
	howPID   = "give the id of a running process"
	howName  = "give a name or an id that docker ps (podman ps, nerdctl ps) lists"
)

// explainTarget adds how to name a target to an error that knows no similar name.
func explainTarget(err error, how string) error {
	var notFound *container.NotFoundError
	if errors.As(err, &notFound) && len(notFound.Near) == 0 {
		return fmt.Errorf("%w: %s", err, how)
	}
	return err
}

// notNamespaceError says that a path names something else than a namespace.
type notNamespaceError struct {
	path string
	err  error
}

func notNamespace(path string, err error) error { return &notNamespaceError{path, err} }

// Error says what to give instead.
func (e *notNamespaceError) Error() string {
	return e.path + " is not a network namespace: " + howNetns + ", such as /proc/PID/ns/net"
}

// Unwrap returns the cause.
func (e *notNamespaceError) Unwrap() error { return e.err }

// explainLimit adds what to do about targets that do not fit.
func explainLimit(err error) error {
	var limit *tracer.LimitError
	if !errors.As(err, &limit) {
		return err
	}
	how := fmt.Sprintf("raise it (ulimit -n %d, or LimitNOFILE= of the service)", limit.Needs)
	if limit.Limit == tracer.LimitMemory {
		how = fmt.Sprintf("allow --memory %dMiB", (limit.Needs+1<<20-1)>>20)
	}
	fewer := "name fewer targets"
	if limit.Fit > 0 {
		fewer += fmt.Sprintf(", or with --all say --max-targets %d", limit.Fit)
	}
	return fmt.Errorf("%w: %s, or %s", err, how, fewer)
}

// explainWay adds what to do about a target whose device leads to a namespace
// that is not ours.
func explainWay(err error) error {
	var noWay *tracer.NoWayError
	if !errors.As(err, &noWay) || !noWay.Elsewhere {
		return err
	}
	return fmt.Errorf("%w: run vethtrace in that namespace (ip netns exec NAME vethtrace, or nsenter --net=PATH vethtrace)", err)
}
