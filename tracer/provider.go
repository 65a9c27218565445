package tracer

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Up to so many targets, borders of devices are taken by tcx: bystanders do not
// pay for it. Attaching it locks the kernel's network configuration for 8 ms per
// device and direction, so above that tracepoints of the whole machine take them.
const mostTCX = 64

// devicesBy tells who takes the borders of devices to begin with, and whether
// that may change when targets are added.
func devicesBy(cfg Config, targets int) (by Provider, switchable bool) {
	switch {
	case cfg.budgeted(): // what comes and goes must not take that lock
		return ProviderTracepoint, false
	case cfg.Devices != "":
		return cfg.Devices, false
	case targets > mostTCX:
		return ProviderTracepoint, false
	}
	return ProviderTCX, cfg.Capacity > mostTCX
}

// switchDevices lets tracepoints take the borders of devices once there are more
// targets than tcx is good for; t.mu is held. What tcx has attached is detached
// in the background. It is not undone when targets go: attaching tcx to those
// that stay would hold RTNL for seconds.
func (t *Tracer) switchDevices() error {
	if !t.facts.switchable || t.devicesBy != ProviderTCX || t.ownDevices() <= mostTCX {
		return nil
	}
	t.devicesBy = ProviderTracepoint
	machine := t.in(t.host)
	for _, h := range t.wanted(ScopeMachine) {
		if h.By != ProviderTracepoint {
			continue
		}
		if err := machine.tracepoint(&t.hostLinks, h); err != nil {
			t.devicesBy = ProviderTCX
			return fmt.Errorf("take borders of devices by tracepoints: %w", err)
		}
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	switchCPUs(t.kernel.mem.switched, cpus)
	t.notes = append(t.notes, fmt.Sprintf(
		"more than %d targets: borders of devices are taken by tracepoints of the whole machine from now on, which the machine's other packets pay for too", mostTCX))
	old := t.hostLinks.takeDevices()
	for _, target := range t.targets {
		if target != nil {
			old = append(old, target.links.takeDevices()...)
		}
	}
	old = append(old, t.foreign.takeDevices()...)
	t.done.Go(func() { t.retireDevices(old) })
	return nil
}

// ownDevices counts targets with devices of their own.
func (t *Tracer) ownDevices() (n int) {
	for _, target := range t.targets {
		if target != nil && !target.hostMode {
			n++
		}
	}
	return n
}

// retireDevices detaches what no longer does anything: not under t.mu, as each takes milliseconds.
func (t *Tracer) retireDevices(old []link.Link) {
	if err := t.windows.restart(); err != nil {
		t.cfg.Log.Warn("measure the cost of stamps", "error", err)
	}
	if err := closeDevices(old); err != nil {
		t.cfg.Log.Warn("detach from devices", "error", err)
	}
}

// switchCPUs lets the tracepoints take over, CPU by CPU: each entry is written
// while that CPU runs this thread, and so no packet, which would else be seen by
// both providers at one device or by none. A CPU that this thread may not run on
// is switched from elsewhere: one packet of it may count twice, or not at all.
func switchCPUs(switched []uint8, cpus int) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked: the thread ends with its affinity
		for cpu := range cpus {
			var one unix.CPUSet
			one.Set(cpu)
			_ = unix.SchedSetaffinity(0, &one) // fails for a CPU that is offline or not ours
			switched[cpu%len(switched)] = 1
		}
		for i := range switched {
			switched[i] = 1 // CPUs that come later
		}
	}()
	<-done
}
