// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// commandLine of the guest's kernel. Without tsc=reliable and no_timer_check
// an emulated clock is doubted, and then not used; a busy machine is no lockup.
const commandLine = "8250.nr_uarts=2 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check nowatchdog random.trust_cpu=on rcupdate.rcu_cpu_stall_suppress=1 loglevel=4"

// hardware is QEMU for an architecture: a console, and a second serial port
// that the guest opens by wire.Port.
func (m machine) hardware() (qemu string, args []string) {
	if m.arch == "arm64" {
		return "qemu-system-aarch64", []string{
			"-machine", "virt", "-cpu", "cortex-a76", "-append", "console=ttyAMA0 " + commandLine, "-serial", "file:" + m.console,
			"-chardev", "stdio,id=wire", "-device", "pci-serial,chardev=wire",
		}
	}
	return "qemu-system-x86_64", []string{"-cpu", "max", "-append", "console=ttyS0 " + commandLine, "-serial", "file:" + m.console, "-serial", "stdio"}
}

// acceleration is emulation of both CPUs by one thread. With a thread each, a CPU
// may still run what the other has just replaced in the kernel's text, as
// attaching to a tracepoint does: the breakpoint that it meets is nobody's then, and the kernel panics.
const acceleration = "tcg,thread=single"

// bootLimit is how long a guest may take to its process 1, which is there after 3 s on a machine that does nothing else.
const bootLimit = 4 * time.Minute

// errNotBooted is why a guest is ended that has not told that it is there.
var errNotBooted = fmt.Errorf("not booted within %v", bootLimit)

// consoleLines of a guest that failed are told.
const consoleLines = 25

// A machine is a guest to boot.
type machine struct {
	arch      string
	kernel    string
	initramfs string
	console   string // file that gets what the kernel says
	limit     time.Duration
}

// boot runs a guest until it switches itself off, and calls take with what it
// tells. A guest that does not tell its end is an error, which has the last lines
// of its console. cpu is the time that emulation took on all CPUs: on a busy machine the one that means something.
func (m machine) boot(ctx context.Context, take func(wire.Message)) (cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	booting := time.AfterFunc(bootLimit, func() { end(errNotBooted) })
	defer booting.Stop()
	// The signal at this process's end is tied to the thread that starts the guest.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	qemu, hardware := m.hardware()
	cmd := exec.CommandContext(ctx, qemu, append(hardware,
		"-accel", acceleration, "-smp", "2", "-m", "2G",
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
		"-kernel", m.kernel, "-initrd", m.initramfs)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("start the guest: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the guest: %w", err)
	}
	var off bool
	var failed string
	readErr := wire.Read(out, func(message wire.Message) {
		booting.Stop()
		off = off || message.Kind == wire.Off
		if message.Kind == wire.Failed {
			failed = message.Text
		}
		take(message)
	}, func(string) {})
	err = errors.Join(readErr, cmd.Wait())
	cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	switch {
	case failed != "":
		err = errors.New(failed)
	case ctx.Err() != nil:
		err = fmt.Errorf("ended: %w", context.Cause(ctx))
	case err == nil && !off:
		err = errors.New("it did not tell its end")
	case err == nil:
		return cpu, nil
	}
	return cpu, fmt.Errorf("the guest: %w\n%s%s", err, complaint.String(), lastLines(m.console, consoleLines))
}

// lastLines are the last n lines of a file, or nothing.
func lastLines(file string, n int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(string(text), "\r", ""), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
