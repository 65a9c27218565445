package tracer

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// dropReasons are the running kernel's names of why it frees packets, without
// their prefix. A kernel before 5.17 has none: its drops are shown by number.
func dropReasons(types *btf.Cache) map[uint32]string {
	names, err := kernelEnum(types, "skb_drop_reason")
	if err != nil {
		return nil
	}
	for number, name := range names {
		names[number] = strings.TrimPrefix(strings.TrimPrefix(name, "SKB_DROP_REASON_"), "SKB_")
	}
	return names
}

// reasonNumber is the running kernel's number of a reason; what it does not have is no packet's.
func reasonNumber(reasons map[uint32]string, name string) uint32 {
	for number, known := range reasons {
		if known == name {
			return number
		}
	}
	return math.MaxUint32
}

func (k *kernel) reason(number uint32) string {
	if name, ok := k.reasons()[number]; ok {
		return name
	}
	return fmt.Sprintf("reason %d", number)
}

func isPermission(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// loadError turns what the verifier or the kernel said into what a user can do.
func loadError(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return &UnsupportedError{Feature: "load the programs", Needs: "a kernel that takes them (tried: Linux 6.1 and later)", Err: verifier}
	case errors.Is(err, ebpf.ErrNotSupported):
		return &UnsupportedError{Feature: "load the programs", Needs: "a kernel that takes them (tried: Linux 6.1 and later)", Err: err}
	case isPermission(err):
		return &UnsupportedError{Feature: "load the programs", Needs: "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (or root)", Err: err}
	}
	return fmt.Errorf("load the programs: %w", err)
}
