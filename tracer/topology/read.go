// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dumpAttempts bounds how often a dump that changed while it was read is read
// again; the last one is taken as it is.
const dumpAttempts = 5

// Read returns the devices, addresses and routes of a namespace.
func Read(ns Entry) (Namespace, error) { return readNamespace(ns, true) }

// ReadBrief is Read without the GRO of veths, which takes as long as half of the
// rest: for one who looks again and again what has come.
func ReadBrief(ns Entry) (Namespace, error) { return readNamespace(ns, false) }

func readNamespace(ns Entry, gro bool) (Namespace, error) {
	var n Namespace
	err := ns.Do(func() error {
		var err error
		if n.Inode, err = currentInode(); err != nil {
			return err
		}
		conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer conn.Close()
		ethtool, err := openEthtool()
		if err != nil {
			return err
		}
		defer unix.Close(ethtool)
		n.Links, n.Routes, err = readAll(conn, ethtool, gro)
		return err
	})
	if err != nil {
		return Namespace{}, fmt.Errorf("read topology: %w", err)
	}
	return n, nil
}

// ReadPeering asks two namespaces how they call each other. Do it after reading
// their links: the kernel makes ids when it reports the first link that needs
// one. An id that the kernel does not tell is IDUnknown.
func ReadPeering(host, target Entry) (Peering, error) {
	hostFile, err := currentFile(host)
	if err != nil {
		return Peering{}, fmt.Errorf("read namespace ids: the host's: %w", err)
	}
	defer hostFile.Close()
	targetFile, err := currentFile(target)
	if err != nil {
		return Peering{}, fmt.Errorf("read namespace ids: the target's: %w", err)
	}
	defer targetFile.Close()
	return Peering{
		TargetInHost: readNetnsID(host, targetFile),
		HostInTarget: readNetnsID(target, hostFile),
	}, nil
}

// ReadWiring reads both namespaces and connects them.
func ReadWiring(host, target Entry) (Wiring, error) {
	h, err := Read(host)
	if err != nil {
		return Wiring{}, fmt.Errorf("of the host: %w", err)
	}
	return ReadTarget(host, h, target)
}

// ReadTarget reads a target's namespace and connects it to the host's, which has
// been read: among a thousand targets once for all.
func ReadTarget(host Entry, h Namespace, target Entry) (Wiring, error) {
	t, err := Read(target)
	if err != nil {
		return Wiring{}, fmt.Errorf("of the target: %w", err)
	}
	ids, err := ReadPeering(host, target)
	if err != nil {
		return Wiring{}, err
	}
	wiring := Connect(h, t, ids)
	wiring.NetnsID = ids.TargetInHost
	return wiring, nil
}

func readNetnsID(ns Entry, of *os.File) int {
	id := IDUnknown
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETNSID, Flags: netlink.Request},
			Data:   encodeNetnsID(int(of.Fd())),
		})
		if err != nil {
			return err
		}
		for _, a := range answers {
			if id, err = decodeNetnsID(a.Data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return IDUnknown // indexes both ways still tell most peers
	}
	return id
}

func currentFile(ns Entry) (*os.File, error) {
	var f *os.File
	err := ns.Do(func() error {
		var err error
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return f, err
}

func currentInode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("identify namespace: %w", err)
	}
	return st.Ino, nil
}

func readAll(conn *netlink.Conn, ethtool int, gro bool) ([]Link, []Route, error) {
	links, err := readLinks(conn)
	if err != nil {
		return nil, nil, err
	}
	if gro {
		if err := readOffloads(ethtool, links); err != nil {
			return nil, nil, err
		}
	}
	if err := readAddrs(conn, links); err != nil {
		return nil, nil, err
	}
	routes, err := readRoutes(conn)
	return links, routes, err
}

func readLinks(conn *netlink.Conn) ([]Link, error) {
	msgs, err := dump(conn, unix.RTM_GETLINK, unix.SizeofIfInfomsg)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]Link, 0, len(msgs))
	for _, m := range msgs {
		l, err := decodeLink(m.Data)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	// A dump that was interrupted may tell a link twice.
	links = slices.CompactFunc(links, func(a, b Link) bool { return a.Index == b.Index })
	return links, nil
}

func readAddrs(conn *netlink.Conn, links []Link) error {
	msgs, err := dump(conn, unix.RTM_GETADDR, unix.SizeofIfAddrmsg)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	n := Namespace{Links: links}
	for _, m := range msgs {
		index, prefix, err := decodeAddr(m.Data)
		if err != nil {
			return err
		}
		if l := n.ByIndex(index); l != nil && prefix.IsValid() {
			l.Addrs = append(l.Addrs, prefix)
		}
	}
	return nil
}

func readRoutes(conn *netlink.Conn) ([]Route, error) {
	msgs, err := dump(conn, unix.RTM_GETROUTE, unix.SizeofRtMsg)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	routes := make([]Route, 0, len(msgs))
	for _, m := range msgs {
		r, err := decodeRoute(m.Data)
		if err != nil {
			return nil, err
		}
		if r.Dst.IsValid() { // not MPLS and the like
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// dump lists all objects of a type, all families. size is that of the type's
// fixed header, all zeroes in the question.
func dump(conn *netlink.Conn, typ netlink.HeaderType, size int) ([]netlink.Message, error) {
	for attempt := 1; ; attempt++ {
		msgs, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump},
			Data:   make([]byte, size),
		})
		if err != nil {
			return nil, err
		}
		interrupted := slices.ContainsFunc(msgs, func(m netlink.Message) bool {
			return m.Header.Flags&netlink.DumpInterrupted != 0
		})
		if !interrupted || attempt == dumpAttempts {
			return msgs, nil
		}
	}
}
