// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// setOffload changes an offload of a device, without needing the ethtool program.
func setOffload(ns *netns.NS, name string, command, data uint32) error {
	return ns.Do(func() error {
		fd, err := openEthtool()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		value := ethtoolValue{cmd: command, data: data}
		req := ifreqPointer{data: unsafe.Pointer(&value)}
		copy(req.name[:], name)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}
