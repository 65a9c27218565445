// Command testsum runs "go test -json" and prints what a reader needs: a line
// per package, failures in full, skipped tests by name with their reason, and
// at the end one line with the counts.
//
//	go test -json -> results.add (events) -> retry (what failed) -> results.close -> printed
//
// It exits 0 only when something passed and nothing failed. With -again a test
// that failed is run once more, by itself: one that passes then is named in a
// list of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

// errFailed is returned when the printed counts already tell what is wrong.
var errFailed = errors.New("the tests did not pass")

type options struct {
	summary string        // file for the closing line
	total   time.Duration // for all packages together
	grace   time.Duration // from the interrupt to the kill
	again   int           // failed tests to run again, at most
	args    []string      // for go test
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("testsum", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.summary, "summary", "", "`file` that gets the closing line")
	flags.DurationVar(&o.total, "total", 15*time.Minute, "time limit of the whole run")
	flags.DurationVar(&o.grace, "grace", 20*time.Second, "time for tests to clean up when the run is ended")
	flags.IntVar(&o.again, "again", 0, "run failed tests a second time, each alone, when at most `N` failed")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("parse flags: %w", err)
	}
	o.args = flags.Args()
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	r := newResults(stdout)
	runErr := goTest(ctx, o, r, stderr)
	r.end()
	runErr = retry(ctx, o, r, runErr, stderr)
	line := r.close()
	if o.summary != "" {
		if err := os.WriteFile(o.summary, []byte(line+"\n"), 0o644); err != nil {
			return fmt.Errorf("write the summary: %w", err)
		}
	}
	switch {
	case runErr != nil:
		fmt.Fprintf(stderr, "testsum: go test: %v\n", runErr)
	case r.counts.passed == 0:
		fmt.Fprintln(stderr, "testsum: no test passed: is there one in the packages asked for?")
	}
	fmt.Fprintln(stdout, line)
	if runErr != nil || r.counts.failed > 0 || r.counts.passed == 0 {
		return errFailed
	}
	return nil
}

// goTest runs go test and feeds its events to r. The tests get a process
// group of their own, so that an interrupt or the time limit reaches them and
// not only the go command, and they can take down what they set up.
func goTest(ctx context.Context, o options, r *results, stderr io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.total, fmt.Errorf("not done after %v", o.total))
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, o.args...)...)
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = o.grace
	events, writer := io.Pipe()
	cmd.Stdout = writer
	scanned := make(chan error, 1)
	go func() {
		err := r.read(events)
		_ = events.CloseWithError(err) // a reader that gave up must not block the tests
		scanned <- err
	}()
	err := cmd.Run()
	writer.Close()
	if ctx.Err() != nil && cmd.Process != nil {
		// Whatever did not heed the interrupt; the group is gone when all did.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		err = context.Cause(ctx)
	}
	return errors.Join(err, <-scanned)
}
