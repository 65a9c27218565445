// SPDX-License-Identifier: Apache-2.0

// Command guest is process 1 of a guest: it makes the usual mounts, loads
// modules, runs the programs of the plan, tells of them, and switches off.
//
//	process 1: reaps orphans, switches off ──starts──> the same file with "work": everything else
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// worker is the argument of the process that does the work.
const worker = "work"

func main() {
	if os.Getpid() != 1 { // which gets arguments too: what the kernel does not know of its command line
		if len(os.Args) != 2 || os.Args[1] != worker {
			fmt.Fprintln(os.Stderr, "guest: this is for process 1 of a guest, it would switch the machine off")
			os.Exit(2)
		}
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		return
	}
	if err := first(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	unix.Sync()
	fmt.Fprintln(os.Stderr, "guest: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// first starts the worker and reaps whatever ends until that one does.
func first() error {
	if err := ownRoot(); err != nil {
		return err
	}
	if err := mounts(); err != nil {
		return err
	}
	cmd := exec.Command("/init", worker)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "TMPDIR=/tmp", wire.Emulated + "=1"}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if pid == cmd.Process.Pid {
			return nil
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("wait for the worker: %w", err)
		}
	}
}

// ownRoot makes the root a mount upon the kernel's first one: a container's
// start leaves its root behind (pivot_root), and the first one cannot be left.
func ownRoot() error {
	const at = "/mnt"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", at, err)
	}
	if err := unix.Mount("/", at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("make a root of our own: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return fmt.Errorf("make a root of our own: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make a root of our own: move it: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("make a root of our own: %w", err)
	}
	return nil
}

// mounts makes what programs expect to be there.
func mounts() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/dev/shm"},
		{"tmpfs", "/run"},
		{"tmpfs", "/tmp"},
		{"tracefs", "/sys/kernel/tracing"},
		{"debugfs", "/sys/kernel/debug"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", m.at, err)
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// teller writes messages, one after the other.
type teller struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *teller) tell(m wire.Message) {
	line, err := json.Marshal(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest: tell:", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.w.Write(append(line, '\n')); err != nil {
		fmt.Fprintln(os.Stderr, "guest: tell:", err)
	}
}

// work does what the plan says.
func work() error {
	port, err := os.OpenFile(wire.Port(runtime.GOARCH), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open the port to the host: %w", err)
	}
	defer port.Close()
	t := &teller{w: port}
	if err := follow(t); err != nil {
		t.tell(wire.Message{Kind: wire.Failed, Text: err.Error()})
		return err
	}
	t.tell(wire.Message{Kind: wire.Off})
	return nil
}

func follow(t *teller) error {
	var plan wire.Plan
	raw, err := os.ReadFile(wire.PlanFile)
	if err == nil {
		err = json.Unmarshal(raw, &plan)
	}
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	// Whoever started the guest may be gone: nothing would end it then.
	end := time.AfterFunc(plan.Limit, func() {
		t.tell(wire.Message{Kind: wire.Failed, Text: fmt.Sprintf("not done within %v", plan.Limit)})
		fmt.Fprintln(os.Stderr, "guest: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	})
	defer end.Stop()
	for _, file := range plan.Modules {
		if err := insert(file); err != nil {
			return err
		}
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("ask for the kernel's release: %w", err)
	}
	t.tell(wire.Message{Kind: wire.Booted, Text: unix.ByteSliceToString(name.Release[:])})
	for _, r := range plan.Runs {
		if m := begin(t, r); r.Again && m.Status != 0 {
			begin(t, r)
		}
	}
	return nil
}

// begin runs a program and tells that it begins and how it ends.
func begin(t *teller, r wire.Run) (end wire.Message) {
	t.tell(wire.Message{Kind: wire.Begin, Name: r.Name})
	end = run(t, r)
	t.tell(end)
	return end
}

// insert loads a module.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load a module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

// loopbackUp sets lo up.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	defer unix.Close(socket)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// run runs a program and tells what it writes; it returns how it ended.
func run(t *teller, r wire.Run) wire.Message {
	m := wire.Message{Kind: wire.End, Name: r.Name, Status: -1}
	begin := time.Now()
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Dir = r.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // a child of its own may keep the pipes open
	out, outDone := lines(t, r.Name, false)
	msg, msgDone := lines(t, r.Name, true)
	cmd.Stdout, cmd.Stderr = out, msg
	err := os.MkdirAll(r.Dir, 0o755)
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		limit := time.AfterFunc(r.Limit, func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		})
		err = cmd.Wait()
		m.Limit = !limit.Stop()
	}
	out.Close()
	msg.Close()
	<-outDone
	<-msgDone
	if cmd.ProcessState != nil {
		m.Status = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		m.Text = err.Error()
	}
	m.Seconds = time.Since(begin).Seconds()
	return m
}

// lines is a writer whose lines are told, and a channel that is closed when they have been.
func lines(t *teller, name string, stderr bool) (*io.PipeWriter, chan struct{}) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				t.tell(wire.Message{Kind: wire.Output, Name: name, Text: strings.TrimSuffix(line, "\n"), Stderr: stderr})
			}
			if err != nil {
				return
			}
		}
	}()
	return w, done
}
