// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Offload is what a device may take over from the stack.
type Offload uint32

// The offloads that SetOffload knows, by ethtool's commands that set them.
const (
	OffloadTSO Offload = unix.ETHTOOL_STSO // a sender's large TCP packets are cut by the device, or not at all
	OffloadGSO Offload = unix.ETHTOOL_SGSO // they are cut late, before the device
	OffloadGRO Offload = unix.ETHTOOL_SGRO // packets received are put together; makes a veth receive by NAPI
)

// SetOffload switches an offload of a device on or off.
func (n *Node) SetOffload(dev string, what Offload, on bool) error {
	value := ethtoolValue{cmd: uint32(what)}
	if on {
		value.data = 1
	}
	err := n.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket for ethtool: %w", err)
		}
		defer unix.Close(fd)
		return setOffload(fd, dev, value)
	})
	if err != nil {
		return fmt.Errorf("set offload of %s of %s: %w", dev, n.Name, err)
	}
	return nil
}

// SetRPS spreads what a device receives over the CPUs of a mask (hexadecimal, "3" being CPUs 0 and 1).
func (n *Node) SetRPS(ctx context.Context, dev, mask string) error {
	return n.setDevice(ctx, dev, "queues/rx-0/rps_cpus", mask)
}

// SetGROWait lets GRO hold packets for so long instead of to the end of a NAPI poll: a tap's polls
// have one packet each.
func (n *Node) SetGROWait(ctx context.Context, dev string, wait time.Duration) error {
	return errors.Join(
		n.setDevice(ctx, dev, "napi_defer_hard_irqs", "1"),
		n.setDevice(ctx, dev, "gro_flush_timeout", strconv.FormatInt(wait.Nanoseconds(), 10)),
	)
}

// setDevice writes a file of a device in the namespace's own sysfs, mounted where nobody else sees it.
func (n *Node) setDevice(ctx context.Context, dev, file, value string) error {
	const script = `mount -t sysfs none /sys && printf %s "$2" > "/sys/class/net/$1"`
	_, err := n.Output(ctx, "unshare", "--mount", "sh", "-ec", script, "sysfs", dev+"/"+file, value)
	return err
}
