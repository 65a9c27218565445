// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Entry runs a function inside one network namespace, on a thread that is in
// it. netns.NS is one.
type Entry interface {
	Do(func() error) error
}

// BaseChains returns what is registered at the netfilter hooks of a namespace.
// Where the kernel lists its hooks the result is exact and in the order in which
// they run; elsewhere the kernel's own hooks are inferred.
func BaseChains(ns Entry) ([]Chain, error) {
	var chains []Chain
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer conn.Close()
		known, err := knownChains(conn)
		if err != nil {
			return err
		}
		dump, ok, err := dumpHooks(conn)
		if err != nil {
			return err
		}
		if ok {
			chains = fromHooks(dump, known)
			return nil
		}
		f := facts{chains: known, tracked: readTracked()}
		if f.rules, err = dumpRules(conn); err != nil {
			return err
		}
		chains = infer(f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read netfilter: %w", err)
	}
	return chains, nil
}

// Queues returns the numbers of the NFQUEUEs that a program listens to in a
// namespace. Taking any netfilter hook away there drops all packets that wait in
// them.
func Queues(ns Entry) ([]uint16, error) {
	var queues []uint16
	err := ns.Do(func() error {
		text, err := readProc("net/netfilter/nfnetlink_queue")
		if err != nil {
			return err
		}
		queues, err = parseQueues(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read NFQUEUEs: %w", err)
	}
	return queues, nil
}

// knownChains reads nf_tables and the legacy tables of the thread's namespace.
func knownChains(conn *netlink.Conn) ([]Chain, error) {
	var chains []Chain
	for _, legacy := range []struct{ file, family string }{
		{"net/ip_tables_names", FamilyIP}, {"net/ip6_tables_names", FamilyIP6},
	} {
		text, err := readProc(legacy.file)
		if err != nil {
			return nil, err
		}
		for _, table := range strings.Fields(text) {
			chains = append(chains, legacyChains(legacy.family, table)...)
		}
	}
	nft, err := nftChains(conn)
	return append(chains, nft...), err
}

// nftChains lists the base chains of nf_tables; none where the kernel has no
// nf_tables.
func nftChains(raw *netlink.Conn) ([]Chain, error) {
	dormant, err := dumpDormant(raw)
	if unsupported(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tables of nf_tables: %w", err)
	}
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", err)
	}
	defer func() { _ = conn.CloseLasting() }()
	list, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains of nf_tables: %w", err)
	}
	var chains []Chain
	for _, c := range list {
		family := familyName(uint8(c.Table.Family))
		if c.Hooknum == nil || c.Priority == nil || dormant[table{family, c.Table.Name}] {
			continue // not a base chain, or not registered
		}
		chains = append(chains, Chain{
			Family: family, Hook: hookName(family, uint32(*c.Hooknum)), Priority: int(*c.Priority),
			Table: c.Table.Name, Name: c.Name, Type: string(c.Type), Backend: BackendNFT,
		})
	}
	return chains, nil
}

// dumpDormant tells of each table of nf_tables whether its chains are not
// registered. google/nftables v0.3.0 lists tables too, but reads their flags in
// the wrong byte order.
func dumpDormant(conn *netlink.Conn) (map[table]bool, error) {
	msgs, err := dumpNFT(conn, unix.NFT_MSG_GETTABLE)
	if err != nil {
		return nil, err
	}
	dormant := map[table]bool{}
	for _, m := range msgs {
		t, asleep, err := decodeTable(m.Data)
		if err != nil {
			return nil, err
		}
		dormant[t] = asleep
	}
	return dormant, nil
}

// dumpNFT lists all objects of a type, all families.
func dumpNFT(conn *netlink.Conn, msg netlink.HeaderType) ([]netlink.Message, error) {
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | msg, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, sizeofNfgenmsg),
	})
}

// dumpHooks lists the registered hooks; ok is false where the kernel can't.
// Asking makes a kernel that has it as a module load it, as `nft list hooks`
// does.
func dumpHooks(conn *netlink.Conn) (dump []registered, ok bool, err error) {
	for _, f := range []struct {
		number uint8
		hooks  uint32
	}{{unix.NFPROTO_IPV4, 5}, {unix.NFPROTO_IPV6, 5}, {unix.NFPROTO_BRIDGE, 5}, {unix.NFPROTO_ARP, 3}} {
		for hook := range f.hooks {
			msgs, err := conn.Execute(netlink.Message{
				Header: netlink.Header{Type: subsysHook<<8 | msgHookGet, Flags: netlink.Request | netlink.Dump},
				Data:   encodeHookGet(f.number, hook),
			})
			switch {
			case unsupported(err) && f.number == unix.NFPROTO_IPV4:
				return nil, false, nil
			case unsupported(err), errors.Is(err, unix.ENOENT):
				continue // a family that the kernel lacks
			case err != nil:
				return nil, false, fmt.Errorf("list registered hooks: %w", err)
			}
			for _, m := range msgs {
				r, err := decodeHook(m.Data)
				if err != nil {
					return nil, false, err
				}
				dump = append(dump, r)
			}
		}
	}
	return dump, true, nil
}

// encodeHookGet is the question for all that is registered at one hook.
func encodeHookGet(family uint8, hook uint32) []byte {
	b := make([]byte, sizeofNfgenmsg+8)
	b[0] = family
	b[4], b[6] = 8, attrHookNum
	if nativeBig() {
		b[4], b[5], b[6], b[7] = 0, 8, 0, attrHookNum
	}
	b[11] = uint8(hook) // in network byte order
	return b
}

// unsupported tells that the kernel lacks a part of netfilter.
func unsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func dumpRules(conn *netlink.Conn) ([]rule, error) {
	msgs, err := dumpNFT(conn, unix.NFT_MSG_GETRULE)
	if unsupported(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rules of nf_tables: %w", err)
	}
	rules := make([]rule, 0, len(msgs))
	for _, m := range msgs {
		r, err := decodeRule(m.Data)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// readTracked returns how many connections the thread's namespace tracks.
func readTracked() int {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0 // no connection tracking in this kernel, or not loaded
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// readProc reads a file of the thread's own directory in /proc: /proc/net would
// be that of the process's first thread, which is in another namespace. A file
// that does not exist, since its module is not loaded, is empty.
func readProc(file string) (string, error) {
	b, err := os.ReadFile("/proc/thread-self/" + file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return string(b), nil
}
