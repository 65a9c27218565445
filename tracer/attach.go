package tracer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/journey"
)

// links are what is attached at one place. They are held until closed: a link
// that nothing references is closed by the garbage collector.
type links struct {
	held    []link.Link
	devices []link.Link // of tcx: each takes milliseconds to go
}

// close detaches everything, the last attached first, and says what failed.
func (l *links) close() error {
	err := errors.Join(closeAll(l.held), closeDevices(l.devices))
	l.held, l.devices = nil, nil
	return err
}

// takeDevices leaves those of tcx to the caller.
func (l *links) takeDevices() []link.Link {
	taken := l.devices
	l.devices = nil
	return taken
}

func closeAll(all []link.Link) error {
	var errs []error
	for _, l := range slices.Backward(all) {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// lockRest is left behind each call that takes the lock of the network's
// configuration for a grace period: who waits for it gets it then. The kernel
// would else give it to us, who ask again at once, two or three times in a row.
// It takes no time: grace periods begin at the kernel's ticks, so the next call
// ends when it would have ended anyway, and holds the lock for less (decision 4).
const lockRest = 3 * time.Millisecond

// closeDevices detaches from devices, and leaves the lock to others in between.
func closeDevices(all []link.Link) error {
	var errs []error
	for _, l := range slices.Backward(all) {
		errs = append(errs, l.Close())
		time.Sleep(lockRest)
	}
	return errors.Join(errs...)
}

// attacher attaches programs in one namespace.
type attacher struct {
	ns       *netns.NS
	programs map[string]*ebpf.Program
	inside   bool // the calling thread is in the namespace already
	attached *tally
	choice   *choice   // nil: each hook's first provider
	clsact   *clsact   // nil: none is attached
	later    *schedule // takes what is to be attached; nil: it is attached at once
}

// in attaches in a namespace: later, while the programs are still being loaded.
func (t *Tracer) in(ns *netns.NS) attacher {
	return attacher{
		ns: ns, programs: t.kernel.programs, attached: t.attached, choice: t.choice, clsact: t.clsact, later: t.later,
	}
}

// with calls attach inside the namespace with a program, by the first provider that works.
func (a attacher) with(h HookSpec, attach func(candidate, *ebpf.Program) error) error {
	inside := func() error {
		return a.take(h, func(one candidate, program *ebpf.Program) error {
			if a.inside {
				return attach(one, program)
			}
			return a.ns.Do(func() error { return attach(one, program) })
		})
	}
	if a.inside || a.later == nil {
		return inside()
	}
	a.later.add(h.Program, inside)
	return nil
}

// device attaches at a device.
func (a attacher) device(to *links, h HookSpec, ifindex int) error {
	return a.with(h, func(one candidate, program *ebpf.Program) error {
		attach := a.tcx
		if one.provider == ProviderClsact {
			attach = a.filter
		}
		l, err := attach(h, ifindex, program)
		if errors.Is(err, errOccupied) {
			a.choice.leaveOut(h, fmt.Sprintf("device %d", ifindex), err)
			return nil
		}
		if err != nil {
			return err
		}
		to.devices = append(to.devices, a.attached.hold(h, l))
		time.Sleep(lockRest)
		return nil
	})
}

// tcx attaches behind what is there already. A null hop goes right behind its
// stamp: what somebody else has attached there since would else be taken for the
// stamp's cost, and out of the journey.
func (a attacher) tcx(h HookSpec, ifindex int, program *ebpf.Program) (link.Link, error) {
	anchor := link.Tail()
	if h.Behind != "" {
		behind := a.programs[h.Behind]
		if behind == nil {
			return nil, fmt.Errorf("attach %s behind %s: that one is not there", h.Program, h.Behind)
		}
		anchor = link.AfterProgram(behind)
	}
	attach := ebpf.AttachTCXIngress
	if h.Egress {
		attach = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: ifindex, Program: program, Attach: attach, Anchor: anchor,
	})
	if err != nil {
		return nil, attachError(fmt.Sprintf("%s at device %d", h.Program, ifindex), "tcx (Linux 6.6)", err)
	}
	return l, nil
}

// filter attaches by clsact, before what is there already.
func (a attacher) filter(h HookSpec, ifindex int, program *ebpf.Program) (link.Link, error) {
	l, err := a.clsact.attach(a.ns, h, ifindex, program)
	if err != nil {
		return nil, attachError(fmt.Sprintf("%s at device %d", h.Program, ifindex), "a clsact qdisc (CONFIG_NET_CLS_BPF)", err)
	}
	return l, nil
}

// Priorities of the first and last border: a link may take neither end of the
// range (EINVAL), and at the lower one ip_sabotage_in stops the second call of
// PRE_ROUTING for bridged packets.
const (
	priorityFirst = math.MinInt32 + 1
	priorityNull  = math.MinInt32 + 2
	priorityLast  = math.MaxInt32 - 1
	// another tracer may hold the same priority (EBUSY): step aside this often
	priorityTries = 8
)

func priorityOf(h HookSpec) int {
	switch h.Border {
	case 0:
		return priorityFirst
	case journey.LastBorder:
		return priorityLast
	}
	return priorityNull + h.Border - 1 // null hops, one behind the other
}

// netfilter attaches at a hook of the namespace, for IPv4 and IPv6.
func (a attacher) netfilter(to *links, h HookSpec, priority int) error {
	return a.with(h, func(one candidate, program *ebpf.Program) error {
		if one.provider == ProviderTrampoline {
			return a.trampoline(to, h)
		}
		for _, family := range []link.NetfilterProtocolFamily{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
			l, err := netfilterFamily(program, h, priority, family)
			if err != nil {
				return attachError(fmt.Sprintf("%s at %s", h.Program, h.Point), "netfilter links (Linux 6.4)", err)
			}
			to.held = append(to.held, a.attached.hold(h, l))
		}
		return nil
	})
}

// trampoline takes a hook of netfilter by functions, which all namespaces share.
func (a attacher) trampoline(to *links, h HookSpec) error {
	object, err := a.choice.fallback()
	if err != nil {
		return err
	}
	l, err := object.trampoline()
	if err != nil {
		return attachError(fmt.Sprintf("%s at %s", h.Program, h.Point), "trampolines (fentry, Linux 5.5)", err)
	}
	to.held = append(to.held, a.attached.hold(h, l))
	return nil
}

func netfilterFamily(program *ebpf.Program, h HookSpec, priority int, family link.NetfilterProtocolFamily) (link.Link, error) {
	step := 1
	if priority > 0 {
		step = -1
	}
	for try := 0; ; try++ {
		l, err := link.AttachNetfilter(link.NetfilterOptions{
			Program: program, ProtocolFamily: family,
			Hook: link.NetfilterInetHook(h.Point), Priority: int32(priority + try*step),
		})
		if err == nil || !errors.Is(err, unix.EBUSY) || try == priorityTries {
			return l, err
		}
	}
}

// tracepoint attaches for the whole machine.
func (a attacher) tracepoint(to *links, h HookSpec) error {
	return a.with(h, func(one candidate, program *ebpf.Program) error {
		var l link.Link
		var err error
		if one.fallback {
			var object *fallback
			if object, err = a.choice.fallback(); err == nil {
				l, err = object.attach(one.program)
			}
		} else {
			l, err = link.AttachTracing(link.TracingOptions{Program: program})
		}
		if err != nil {
			return attachError(h.Program, "BTF tracepoints (Linux 5.5)", err)
		}
		to.held = append(to.held, a.attached.hold(h, l))
		return nil
	})
}

func attachError(what, needs string, err error) error {
	if isPermission(err) || errors.Is(err, ebpf.ErrNotSupported) {
		return &UnsupportedError{Feature: "attach " + what, Needs: needs + ", CAP_BPF and CAP_NET_ADMIN", Err: err}
	}
	return fmt.Errorf("attach %s: %w", what, err)
}
