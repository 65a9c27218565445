// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ethtoolRequest is struct ifreq with ifr_data.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// likeNIC makes one end of a veth pair receive as a network card does, by NAPI
// (napi_gro_receive) instead of netif_rx. That takes generic receive offload
// at the receiver (Linux 5.13) and no segmentation offload at the sender, so
// each end gets both: the kernel cuts long packets before the device, as it
// does for a card that can't. Call it before the device is up.
func (n *Node) likeNIC(dev string) error {
	err := n.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket for ethtool: %w", err)
		}
		defer unix.Close(fd)
		return errors.Join(
			setOffload(fd, dev, ethtoolValue{unix.ETHTOOL_STSO, 0}),
			setOffload(fd, dev, ethtoolValue{unix.ETHTOOL_SGRO, 1}),
		)
	})
	if err != nil {
		return fmt.Errorf("make %s of %s receive as a network card: %w", dev, n.Name, err)
	}
	return nil
}

func setOffload(fd int, dev string, value ethtoolValue) error {
	req := ethtoolRequest{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], dev)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return fmt.Errorf("ethtool command %#x: %w", value.cmd, errno)
	}
	return nil
}
