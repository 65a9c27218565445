// SPDX-License-Identifier: Apache-2.0

package topology

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

// ifreqPointer is struct ifreq with ifr_data.
type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// openEthtool opens a socket of the current namespace for ethtool's ioctls.
func openEthtool() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket for ethtool: %w", err)
	}
	return fd, nil
}

// readOffloads asks each veth for its GRO and TSO. The ioctl, unlike ethtool's
// netlink family, needs no dump of all features of all devices.
func readOffloads(fd int, links []Link) error {
	for i := range links {
		if links[i].Kind != "veth" {
			continue
		}
		gro, err := readOffload(fd, links[i].Name, unix.ETHTOOL_GGRO)
		tso := false
		if err == nil {
			tso, err = readOffload(fd, links[i].Name, unix.ETHTOOL_GTSO)
		}
		if errors.Is(err, unix.ENODEV) { // gone or renamed since the dump
			continue
		}
		if err != nil {
			return fmt.Errorf("read offloads of %s: %w", links[i].Name, err)
		}
		links[i].GRO, links[i].Small = gro, !tso
	}
	return nil
}

func readOffload(fd int, name string, cmd uint32) (bool, error) {
	value := ethtoolValue{cmd: cmd}
	req := ifreqPointer{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return false, errno
	}
	return value.data != 0, nil
}
