// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// Rules with every match and target that Docker, ufw and firewalld write, as
// iptables-save writes them.
const everyRule4 = `
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
-A PREROUTING -m rpfilter --validmark --invert -j DROP
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
-A OUTPUT -d 192.0.2.9/32 -j CT --notrack
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -m mac --mac-source 02:00:00:00:00:01 -j MARK --set-xmark 0x10/0xff
-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
-A OUTPUT -p udp -m udp --dport 4789 -m u32 --u32 "0x0>>0x16&0x3c@0xc&0xffffff00=0x100100" -j MARK --set-xmark 0xd0c4e3/0xffffffff
-A POSTROUTING -p sctp -m sctp --sport 80 -j CHECKSUM --checksum-fill
-A POSTROUTING -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A POSTROUTING -m mark --mark 0x1/0x1 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE
-A POSTROUTING -s 10.1.0.0/16 -j SNAT --to-source 192.0.2.1-192.0.2.3
-A POSTROUTING -s 10.2.0.0/16 -p tcp -j MASQUERADE --to-ports 1024-2048 --random
-A POSTROUTING -s 10.3.0.0/16 -j MASQUERADE --random-fully
-A POSTROUTING -d 10.4.0.0/16 -p udp -j SNAT --to-source :53
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353
-A DOCKER -p sctp -m sctp --dport 9 -j DNAT --to-destination 172.17.0.2:9
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:ufw-logging-deny - [0:0]
:ufw-user-limit - [0:0]
:IN_public - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j ufw-logging-deny
-A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8/0 -j ACCEPT
-A INPUT -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A INPUT -m addrtype --dst-type BROADCAST -j RETURN
-A INPUT -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443,8000:8010 -j ACCEPT
-A INPUT -p tcp -m multiport ! --sports 80 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --mask 255.255.255.255 --rsource
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 --name DEFAULT --mask 255.255.255.255 --rsource -j ufw-user-limit
-A INPUT -m pkttype --pkt-type broadcast -j DROP
-A INPUT -i eth0 -g IN_public
-A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT
-A INPUT -m ttl --ttl-eq 255 -j ACCEPT
-A OUTPUT -m owner --socket-exists ! --uid-owner 0-99 -j ACCEPT
-A INPUT -p 103 -j ACCEPT
-A INPUT -i veth+ -j ACCEPT
-A INPUT ! -p udp -j ACCEPT
-A INPUT ! -s 10.0.0.0/8 -d 192.168.0.0/24 -m state --state NEW -j ACCEPT
-A INPUT -m length --length 40:1500 -j ACCEPT
-A INPUT -m connmark --mark 0x1/0xff -j ACCEPT
-A INPUT -m tos --tos 0x10/0x3f -j ACCEPT
-A INPUT -m dscp ! --dscp 0x0a -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A FORWARD -m conntrack --ctorigdst 192.0.2.1 --ctorigdstport 8080 --ctdir ORIGINAL -j ACCEPT
-A FORWARD -m physdev --physdev-in vethA --physdev-out vethB --physdev-is-bridged -j ACCEPT
-A FORWARD -m policy --dir in --pol ipsec -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -m comment --comment "the end of it" -j DROP
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-user-limit -m limit --limit 3/min -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
-A IN_public -p tcp -j REJECT --reject-with tcp-reset
COMMIT
`

const everyRule6 = `
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination [2001:db8::2]:80
-A PREROUTING -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 80
-A OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j ACCEPT
-A POSTROUTING -s 2001:db8::/64 ! -o docker0 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m rt --rt-type 0 -j DROP
-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 1/3 -j ACCEPT
-A INPUT -s fe80::/10 -d ff02::1/128 -j ACCEPT
-A INPUT -p udp -m udp --sport 547 --dport 546 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp6-adm-prohibited
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`

// inNS runs a program in a namespace with an input.
func inNS(t *testing.T, ns *netns.NS, input, name string, args ...string) string {
	t.Helper()
	out, err := tryNS(ns, input, name, args...)
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return out
}

// tryNS is inNS for what may fail.
func tryNS(ns *netns.NS, input, name string, args ...string) (string, error) {
	var out []byte
	err := ns.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(input)
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	return string(out), err
}

// What the kernel gives for rules reads as what iptables-save says they are, from
// both backends; and the text that iptables-save writes means the same.
func TestReadRulesAsIptablesSave(t *testing.T) {
	for _, b := range []struct {
		tool    string
		backend rules.Backend
	}{{"legacy", rules.Legacy}, {"nft", rules.NFT}} {
		t.Run(b.tool, func(t *testing.T) {
			ns := newNS(t)
			for _, f := range []struct{ tool, family, text string }{{"iptables", FamilyIP, everyRule4}, {"ip6tables", FamilyIP6, everyRule6}} {
				inNS(t, ns, f.text, f.tool+"-"+b.tool+"-restore")
				saved := inNS(t, ns, "", f.tool+"-"+b.tool+"-save")
				set, err := ReadRules(ns)
				if err != nil {
					t.Fatal(err)
				}
				parsed, err := rules.ParseSave(saved, f.family, b.backend)
				if err != nil {
					t.Fatal(err)
				}
				compareSets(t, set, parsed)
			}
		})
	}
}

// compareSets compares what was read with what the text says: as text, and that
// nothing in it is opaque.
func compareSets(t *testing.T, set, parsed *rules.Set) {
	t.Helper()
	n := 0
	for _, want := range parsed.Chains {
		got := set.Chain(want.Backend, want.Family, want.Table, want.Name)
		if got == nil || len(got.Rules) != len(want.Rules) {
			t.Errorf("%s/%s: got %+v, want %d rules", want.Table, want.Name, got, len(want.Rules))
			continue
		}
		if want.Base != nil && (got.Base == nil || got.Base.Hook != want.Base.Hook || got.Base.Priority != want.Base.Priority ||
			got.Base.Type != want.Base.Type || got.Base.Policy != want.Base.Policy) {
			t.Errorf("%s/%s: base %+v, want %+v", want.Table, want.Name, got.Base, want.Base)
		}
		for i, r := range got.Rules {
			n++
			if r.Text != want.Rules[i].Text {
				t.Errorf("%s/%s rule %d:\n got %s\nwant %s", want.Table, want.Name, i+1, r.Text, want.Rules[i].Text)
			}
			for _, s := range r.Stmts {
				if o, ok := s.(rules.Opaque); ok {
					t.Errorf("%s/%s rule %d: opaque %s", want.Table, want.Name, i+1, o.Text)
				}
				if m, ok := s.(rules.Test); ok {
					if o, ok := m.Match.(rules.XTOpaque); ok {
						t.Errorf("%s/%s rule %d: opaque %s", want.Table, want.Name, i+1, o.Text)
					}
				}
			}
		}
	}
	if n == 0 {
		t.Error("no rules")
	}
}
