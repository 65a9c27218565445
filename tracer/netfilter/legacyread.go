// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// Socket options of the legacy tables, the same numbers for IPv4 and IPv6.
const (
	soGetInfo    = 64 // IPT_SO_GET_INFO
	soGetEntries = 65 // IPT_SO_GET_ENTRIES
	soIPSet      = 83 // SO_IP_SET

	sizeofGetInfo    = 84
	sizeofGetEntries = 40
	tableNameLen     = 32
)

// legacyTries bounds how often a table is asked for that changes meanwhile.
const legacyTries = 5

// legacyTable is a table of iptables-legacy, and how to ask for it.
type legacyTable struct {
	family, name string
	fd, level    int // of the socket, and of its options
}

// eachLegacyTable visits the tables of iptables-legacy that exist in the thread's
// namespace. Only those: asking for another one would make the kernel create it.
func eachLegacyTable(visit func(legacyTable) error) error {
	for _, f := range []struct {
		names, family string
		domain, level int
	}{
		{"net/ip_tables_names", FamilyIP, unix.AF_INET, unix.SOL_IP},
		{"net/ip6_tables_names", FamilyIP6, unix.AF_INET6, unix.SOL_IPV6},
	} {
		text, err := readProc(f.names)
		if err != nil {
			return err
		}
		tables := strings.Fields(text)
		if len(tables) == 0 {
			continue
		}
		fd, err := unix.Socket(f.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("open a socket for iptables-legacy: %w", err)
		}
		for _, name := range tables {
			if err = visit(legacyTable{f.family, name, fd, f.level}); err != nil {
				break
			}
		}
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// legacyRuleset reads the tables by the socket options that iptables itself
// uses, so that no program has to be there.
func legacyRuleset(set *rules.Set, with *decoders) error {
	return eachLegacyTable(func(t legacyTable) error {
		l := layout4()
		if t.family == FamilyIP6 {
			l = layout6()
		}
		chains, err := legacyRead(t.fd, t.level, l, t.name, with)
		set.Chains = append(set.Chains, chains...)
		return err
	})
}

// legacyRead reads one table.
func legacyRead(fd, level int, l layout, table string, with *decoders) ([]*rules.Chain, error) {
	for range legacyTries {
		info := make([]byte, sizeofGetInfo)
		copy(info, table)
		if err := getsockopt(fd, level, soGetInfo, info); err != nil {
			return nil, fmt.Errorf("ask for table %s of iptables-legacy: %w", table, err)
		}
		b := blob(info)
		t := &legacyBlob{layout: l, table: table, decoders: with}
		for h := range t.hooks {
			t.hooks[h], t.underflows[h] = b.u32(tableNameLen+4+4*h), b.u32(tableNameLen+24+4*h)
		}
		size := b.u32(sizeofGetInfo - 4)
		buf := make([]byte, sizeofGetEntries+int(size))
		copy(buf, table)
		binary.NativeEndian.PutUint32(buf[tableNameLen:], size)
		err := getsockopt(fd, level, soGetEntries, buf)
		if errors.Is(err, unix.EAGAIN) {
			continue // it changed
		}
		if err != nil {
			return nil, fmt.Errorf("read table %s of iptables-legacy: %w", table, err)
		}
		t.entries = buf[sizeofGetEntries:]
		chains, err := t.decode(b.u32(tableNameLen))
		if err != nil {
			return nil, fmt.Errorf("read table %s of iptables-legacy: %w", table, err)
		}
		for _, c := range chains {
			for _, r := range c.Rules {
				set := rules.Set{}
				set.Describe(c, r)
			}
		}
		return chains, nil
	}
	return nil, fmt.Errorf("read table %s of iptables-legacy: it changed %d times meanwhile", table, legacyTries)
}

// getsockopt is getsockopt(2) with a buffer that is read and written.
func getsockopt(fd, level, option int, buf []byte) error {
	size := uint32(len(buf)) //nolint:gosec // tables are smaller than 4 GiB
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ipsetNames asks the kernel for the names that sets have by index: xtables holds
// indexes only.
func ipsetNames() (ask func(uint16) (string, bool), closed func()) {
	fd := -1
	ask = func(index uint16) (string, bool) {
		var err error
		if fd < 0 {
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
				return "", false
			}
		}
		const getByIndex, version = 7, 7
		req := make([]byte, 40)
		binary.NativeEndian.PutUint32(req, getByIndex)
		binary.NativeEndian.PutUint32(req[4:], version)
		binary.NativeEndian.PutUint16(req[8:], index)
		if getsockopt(fd, unix.SOL_IP, soIPSet, req) != nil {
			return "", false
		}
		name := blob(req).text(8, 32)
		return name, name != ""
	}
	return ask, func() {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
