// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// setGRO turns a device's GRO on, without needing the ethtool program.
func setGRO(ns *netns.NS, name string) error {
	return ns.Do(func() error {
		fd, err := openEthtool()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		value := ethtoolValue{cmd: unix.ETHTOOL_SGRO, data: 1}
		req := ifreqPointer{data: unsafe.Pointer(&value)}
		copy(req.name[:], name)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}
