package tracer_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// TestExplainedKinds: the same for what is no datagram to a bridge's container:
// a macvlan, echo requests, SCTP, and ranges of published ports as Podman writes them.
func TestExplainedKinds(t *testing.T) {
	client := func(w *lab.World) *lab.Node { return w.Client }
	host := func(w *lab.World) *lab.Node { return w.Host }
	nginx := func(w *lab.World) *lab.Node { return w.Container("nginx").Node }
	other := func(w *lab.World) *lab.Node { return w.Container("c2").Node }
	mac := func(w *lab.World) *lab.Node { return w.Container("mac").Node }
	echo := kind4{proto: rules.ICMP, shown: "icmp", send: func(s *stage, from *lab.Node, to netip.AddrPort, n int) {
		s.exact(from.Ping(s.ctx, to.Addr(), n))
	}}
	var published []tracer.Port
	for i := range uint16(4) {
		published = append(published, tracer.Port{Host: netip.AddrPortFrom(netip.IPv4Unspecified(), 9000+i), Container: 7 + i, Protocol: "udp"})
	}
	sctp := kind4{proto: rules.SCTP, shown: "132", send: sendINIT}
	for _, a := range []agreement{
		{"macvlan, from outside", client, "", "MAC:7", wiring.Delivered, tracer.Ingress, "uplink", "", kind4{target: "mac"}},
		{"macvlan, to outside", mac, "MAC", "198.51.100.2:99", wiring.Leaves, tracer.Egress, "uplink", "", kind4{target: "mac"}},
		{"echo from the host", host, "172.17.0.1", "172.17.0.2:0", wiring.Delivered, tracer.Ingress, "host", "", echo},
		{"echo from another container", other, "", "172.17.0.2:0", wiring.Delivered, tracer.Ingress, "container:c2", "", echo},
		{"echo to outside", nginx, "", "198.51.100.2:0", wiring.Leaves, tracer.Egress, "uplink", "", echo},
		{"SCTP, published", client, "", "198.51.100.1:7010", wiring.NothingListens, tracer.Ingress, "uplink", "", sctp},
		{"SCTP from another container", other, "", "172.17.0.2:7010", wiring.NothingListens, tracer.Ingress, "container:c2", "", sctp},
		{"first port of a range", client, "", "198.51.100.1:9000", wiring.Delivered, tracer.Ingress, "uplink", "", kind4{ports: published}},
		{"last port of a range", client, "", "198.51.100.1:9003", wiring.NothingListens, tracer.Ingress, "uplink", "", kind4{ports: published}},
		{"dropped port of a range", client, "", "198.51.100.1:9001", wiring.Dropped, tracer.Ingress, "", "netfilter/forward", kind4{ports: published}},
	} {
		t.Run(a.name, func(t *testing.T) {
			s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}})
			at, err := s.world.AddContainer(s.ctx, lab.ContainerConfig{Name: "mac", Kind: lab.KindMacvlan})
			s.must(err)
			s.calm(at.Node)
			for _, rule := range []string{
				"-t nat -A PREROUTING -p sctp -m sctp --dport 7010 -j DNAT --to-destination 172.17.0.2",
				"-t nat -A PREROUTING -p udp -m udp --dport 9000:9003 -j DNAT --to-destination 172.17.0.2:7-10/9000",
				"-I DOCKER-USER -d 172.17.0.2/32 -p sctp -m sctp --dport 7010 -j ACCEPT",
				"-I DOCKER-USER -d 172.17.0.2/32 -p udp -m udp --dport 7:10 -j ACCEPT",
				"-I DOCKER-USER -p udp -m udp --dport 8 -j DROP",
			} {
				s.ruled(rule)
			}
			a.to, a.src = filled(a.to, at), filled(a.src, at)
			s.agree(a)
		})
	}
}

// filled puts the macvlan's address in.
func filled(text string, at *lab.Container) string {
	const name = "MAC"
	if len(text) < len(name) || text[:len(name)] != name {
		return text
	}
	return at.IP4.String() + text[len(name):]
}

// sendINIT sends SCTP's first packet, as no kernel without SCTP would: connection
// tracking and translation know it all the same.
func sendINIT(s *stage, from *lab.Node, to netip.AddrPort, n int) {
	s.t.Helper()
	var conn *net.IPConn
	s.must(from.NS.Do(func() (err error) {
		conn, err = net.DialIP("ip4:132", nil, &net.IPAddr{IP: to.Addr().AsSlice()})
		return err
	}))
	defer conn.Close()
	packet := binary.BigEndian.AppendUint16(nil, 40000)
	packet = binary.BigEndian.AppendUint16(packet, to.Port())
	packet = append(packet, make([]byte, 8)...) // verification tag, checksum
	packet = append(packet, 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1)
	binary.LittleEndian.PutUint32(packet[8:], crc32.Checksum(packet, crc32.MakeTable(crc32.Castagnoli)))
	for sent := 0; sent < n; {
		// an earlier one may have been answered that nobody listens: this one was not sent then
		if _, err := conn.Write(packet); err == nil {
			sent++
		} else if !refused(err) {
			s.t.Fatal(err)
		}
	}
}

func refused(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOPROTOOPT)
}
