// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// router is a namespace that forwards, with devices whose other ends a second
// namespace holds: what is sent there arrives, and nobody answers.
//
//	others           router
//	x-eth0  ──────── eth0     198.51.100.1/24, 2001:db8:1::1/64, default route
//	x-docker0 ────── docker0  172.17.0.1/16,   2001:db8:2::1/64
//	x-eth1  ──────── eth1     172.18.0.1/16,   2001:db8:3::1/64
//	x-pa, x-pb ───── pa, pb ── br0  172.19.0.1/16, 2001:db8:4::1/64
type router struct {
	t          *testing.T
	ns, others *netns.NS
	env        rules.Env
	mac        map[string]net.HardwareAddr // of the router's devices
	tx         map[string]int              // AF_PACKET sockets of the other ends
	sniffer    int
	raw        map[int]int    // local delivery: protocols by socket
	out4, out6 map[uint32]int // raw sockets that make packets, by mark
	index      map[int]string
	token      uint32
}

// wires are the devices whose other ends packets are sent on.
var wires = []string{"eth0", "docker0", "eth1", "pa", "pb"}

func newRouter(t *testing.T) *router {
	t.Helper()
	w := &router{
		t: t, ns: newNS(t), others: newNS(t), mac: map[string]net.HardwareAddr{}, tx: map[string]int{},
		raw: map[int]int{}, out4: map[uint32]int{}, out6: map[uint32]int{}, index: map[int]string{},
	}
	w.in(w.ns, w.switches)
	w.in(w.others, func() error { return w.set("net/ipv6/conf/default/disable_ipv6", "1") })
	w.in(w.ns, w.build)
	w.in(w.others, w.open)
	w.in(w.ns, w.listen)
	w.in(w.ns, w.awaitUp)
	w.in(w.others, w.awaitUp)
	env, err := ReadEnv(w.ns)
	if err != nil {
		t.Fatal(err)
	}
	env.Rates, env.Recent = rules.AssumeQuiet, rules.AssumeQuiet // lists and limits are new with each set
	w.env = env
	return w
}

func (w *router) in(ns *netns.NS, fn func() error) {
	w.t.Helper()
	if err := ns.Do(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *router) set(key, value string) error {
	return os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
}

func (w *router) switches() error {
	for key, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0",
		"net/ipv4/conf/all/send_redirects": "0", "net/ipv4/conf/default/send_redirects": "0",
		"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/all/forwarding": "1", "net/ipv6/conf/default/forwarding": "1",
		"net/ipv6/conf/default/router_solicitations": "0",
		"net/netfilter/nf_conntrack_checksum":        "0", "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
		"net/ipv4/icmp_echo_ignore_all": "1", "net/ipv4/icmp_echo_ignore_broadcasts": "1", "net/ipv6/icmp/echo_ignore_all": "1",
	} {
		if err := w.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// build makes the devices, addresses, routes and neighbours.
func (w *router) build() error {
	lo, err := vnl.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := vnl.LinkSetUp(lo); err != nil {
		return err
	}
	snooping := false // else the bridge joins a group, and the router reports that through OUTPUT at any time
	bridge := &vnl.Bridge{LinkAttrs: vnl.LinkAttrs{Name: "br0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 1, 9}}, MulticastSnooping: &snooping}
	if err := vnl.LinkAdd(bridge); err != nil {
		return err
	}
	for i, name := range wires {
		veth := &vnl.Veth{LinkAttrs: vnl.LinkAttrs{Name: name, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}}, PeerName: "x-" + name, PeerNamespace: vnl.NsFd(w.others.FD())}
		if err := vnl.LinkAdd(veth); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		if name == "pa" || name == "pb" {
			if err := vnl.LinkSetMaster(veth, bridge); err != nil {
				return err
			}
		}
		if err := vnl.LinkSetUp(veth); err != nil {
			return err
		}
	}
	if err := vnl.LinkSetUp(bridge); err != nil {
		return err
	}
	for i, d := range []struct{ dev, a4, a6 string }{
		{"eth0", "198.51.100.1/24", "2001:db8:1::1/64"},
		{"docker0", "172.17.0.1/16", "2001:db8:2::1/64"},
		{"eth1", "172.18.0.1/16", "2001:db8:3::1/64"},
		{"br0", "172.19.0.1/16", "2001:db8:4::1/64"},
	} {
		if err := w.address(d.dev, d.a4, d.a6, i); err != nil {
			return fmt.Errorf("address %s: %w", d.dev, err)
		}
	}
	return nil
}

func (w *router) address(dev, a4, a6 string, i int) error {
	l, err := vnl.LinkByName(dev)
	if err != nil {
		return err
	}
	w.mac[dev] = l.Attrs().HardwareAddr
	for _, text := range []string{a4, a6} {
		a, err := vnl.ParseAddr(text)
		if err != nil {
			return err
		}
		if err := vnl.AddrAdd(l, a); err != nil {
			return err
		}
		for n := byte(2); n < 10; n++ {
			ip := append(net.IP{}, a.IP...)
			ip[len(ip)-1] = n
			if err := vnl.NeighAdd(&vnl.Neigh{
				LinkIndex: l.Attrs().Index, State: vnl.NUD_PERMANENT, IP: ip, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 2, n},
			}); err != nil {
				return err
			}
		}
	}
	if i > 0 {
		return nil
	}
	for _, gw := range []string{"198.51.100.2", "2001:db8:1::2"} {
		if err := vnl.RouteAdd(&vnl.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gw)}); err != nil {
			return err
		}
	}
	return nil
}

// open opens the sockets of the other ends.
func (w *router) open() error {
	for _, name := range wires {
		l, err := vnl.LinkByName("x-" + name)
		if err != nil {
			return err
		}
		if err := vnl.LinkSetUp(l); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		w.keep(fd)
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
			return err
		}
		w.tx[name] = fd
	}
	return nil
}

// awaitUp waits until all devices carry packets: the kernel puts their queues to
// work some time after they are up.
func (w *router) awaitUp() error {
	end := time.Now().Add(20 * time.Second)
	for {
		links, err := vnl.LinkList()
		if err != nil {
			return err
		}
		down := ""
		for _, l := range links {
			a := l.Attrs()
			if a.Flags&net.FlagLoopback == 0 && a.OperState != vnl.OperUp {
				down = a.Name
			}
		}
		if down == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not come up", down)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *router) keep(fd int) { w.t.Cleanup(func() { _ = unix.Close(fd) }) }

// protocols that are received where they are delivered.
var delivered = []int{1, 6, 17, 58, 132, 47}

// listen opens the sockets that see what becomes of packets.
func (w *router) listen() error {
	links, err := vnl.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		w.index[l.Attrs().Index] = l.Attrs().Name
	}
	if w.sniffer, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	w.keep(w.sniffer)
	if err := unix.SetsockoptInt(w.sniffer, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		return err
	}
	if err := unix.Bind(w.sniffer, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)}); err != nil {
		return err
	}
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, proto := range delivered {
			if (proto == 1) == (domain == unix.AF_INET6) && (proto == 1 || proto == 58) {
				continue
			}
			fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
			if err != nil {
				return err
			}
			w.keep(fd)
			w.raw[fd] = proto
		}
	}
	for _, mark := range []uint32{0, 1, 0x10} {
		if w.out4[mark], err = w.maker(unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL, mark); err != nil {
			return err
		}
		if w.out6[mark], err = w.maker(unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, mark); err != nil {
			return err
		}
	}
	return nil
}

func (w *router) maker(domain, level, option int, mark uint32) (int, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, err
	}
	w.keep(fd)
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return 0, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
}

// sentinel is the EtherType (for local experiments) of frames that say that all
// before them has been seen.
const sentinel = 0x88b5

// fate is what the kernel did with a packet.
type fate struct {
	end              rules.End
	dev              string
	src, dst         netip.Addr
	srcPort, dstPort uint16
}

// deliver sends packets and tells what became of each.
func (w *router) deliver(list []probe) (map[uint32]fate, error) {
	for _, p := range list {
		if err := w.send(p); err != nil {
			return nil, err
		}
	}
	fates := map[uint32]fate{}
	if err := w.settle(list, fates); err != nil {
		return nil, err
	}
	return fates, w.received(list, fates)
}

func (w *router) send(p probe) error {
	if p.In == "" {
		var to unix.Sockaddr
		fd := w.out4[p.Mark]
		if p.V6() {
			fd = w.out6[p.Mark]
			to = &unix.SockaddrInet6{Addr: p.Dst.As16()}
		} else {
			to = &unix.SockaddrInet4{Addr: p.Dst.As4()}
		}
		_ = unix.Sendto(fd, p.bytes, 0, to) // fails where OUTPUT drops
		return nil
	}
	wire, mac := p.In, w.mac[p.In]
	if p.In == "br0" {
		wire = p.PhysIn
		if p.Bridged {
			mac = net.HardwareAddr{2, 0, 0, 0, 2, 3}
		}
	}
	if p.PktType.Value == 1 {
		mac = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	if p.PktType.Value == 2 {
		mac = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}
		if p.V6() {
			mac = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
		}
	}
	frame := append(append(append([]byte{}, mac...), p.SrcMAC.Value[:]...), 0x08, 0x00)
	if p.V6() {
		frame[12], frame[13] = 0x86, 0xdd
	}
	_, err := unix.Write(w.tx[wire], append(frame, p.bytes...))
	return err
}

// settle waits until a frame that was sent behind all others has arrived, and
// notes what left until then.
func (w *router) settle(list []probe, fates map[uint32]fate) error {
	w.token++
	frame := append(append([]byte{}, w.mac["eth0"]...), 2, 0, 0, 0, 3, 3, sentinel>>8, sentinel&0xff)
	frame = append(binary.BigEndian.AppendUint32(frame, w.token), make([]byte, 46)...)
	if _, err := unix.Write(w.tx["eth0"], frame); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	end := time.Now().Add(10 * time.Second)
	for time.Now().Before(end) {
		n, from, err := unix.Recvfrom(w.sniffer, buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			fds := []unix.PollFd{{Fd: int32(w.sniffer), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, 100)
			continue
		}
		if err != nil {
			return err
		}
		ll := from.(*unix.SockaddrLinklayer)
		b := buf[:n]
		if n > 18 && binary.BigEndian.Uint16(b[12:]) == sentinel && ll.Pkttype != unix.PACKET_OUTGOING {
			if binary.BigEndian.Uint32(b[14:]) == w.token {
				return nil
			}
			continue
		}
		if ll.Pkttype == unix.PACKET_OUTGOING && n > 14 {
			w.note(list, fates, b[14:], rules.Forwarded, w.index[ll.Ifindex])
		}
	}
	return fmt.Errorf("the last frame did not arrive")
}

// onOneCPU keeps what runs on the calling goroutine's thread on one CPU, so that
// packets are seen in the order in which they were sent.
func onOneCPU(t *testing.T, cpu int) {
	t.Helper()
	runtime.LockOSThread()
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &was)
		runtime.UnlockOSThread()
	})
}
