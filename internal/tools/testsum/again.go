package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// retry runs each failed test once more and returns what is then wrong with the
// whole run. Tests here measure time on machines that others use as well, and a
// moment without a processor looks like a fault; a fault of ours fails again.
// Nothing is run again when a package did not build or ended outside of its
// tests, when more failed than a moment explains, or when the run was cut short.
func retry(ctx context.Context, o options, r *results, runErr error, stderr io.Writer) error {
	var exit *exec.ExitError
	if len(r.failures) == 0 || len(r.failures) > o.again || !errors.As(runErr, &exit) || ctx.Err() != nil {
		return runErr
	}
	if slices.ContainsFunc(r.failures, func(f failure) bool { return f.Test == "" }) {
		return runErr
	}
	var failed []failure
	for _, f := range r.failures {
		fmt.Fprintf(r.w, "AGAIN %s\n", f)
		second := newResults(r.w)
		one := o
		one.args = argsFor(o.args, f)
		err := goTest(ctx, one, second, stderr)
		second.end()
		if err != nil || second.counts.failed > 0 || second.counts.passed == 0 {
			failed = append(failed, f)
			continue
		}
		r.counts.failed--
		r.counts.passed++
		r.again = append(r.again, f.String())
	}
	if r.failures = failed; len(failed) > 0 {
		return runErr
	}
	return nil
}

// argsFor are go test's arguments for one test: flags stay (those with a value
// are written -name=value), packages go.
func argsFor(args []string, f failure) []string {
	flags := slices.Clone(args)
	for len(flags) > 0 && !strings.HasPrefix(flags[len(flags)-1], "-") {
		flags = flags[:len(flags)-1]
	}
	parts := strings.Split(f.Test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return append(flags, "-run="+strings.Join(parts, "/"), f.Package)
}
