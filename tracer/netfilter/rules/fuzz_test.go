// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// Whatever rules say, evaluating them ends, without a panic, with a verdict or
// with what is unknown.
func FuzzWalk(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.save")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), uint8(rules.TCP), uint16(8080), true)
	}
	f.Add("*filter\n-A FORWARD -j A\n-A A -j B\n-A B -g A\n", uint8(17), uint16(53), true)
	f.Add("*filter\n-A OUTPUT -m limit -j A\n-A A -m recent --update -j OUTPUT\n", uint8(1), uint16(0), false)
	f.Fuzz(func(t *testing.T, text string, proto uint8, port uint16, arrives bool) {
		set, err := rules.ParseSave(text, "ip", rules.NFT)
		if err != nil {
			return
		}
		p := rules.Packet{
			Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("198.51.100.1"), Proto: proto, DstPort: port, TCPFlags: rules.SYN,
		}
		if arrives {
			p.In = "eth0"
		}
		env := rules.Env{Forward4: true, Devices: map[string]rules.Device{"eth0": {Index: 2}, "lo": {Index: 1, Loopback: true}}}
		env.Routes.Routes = []rules.Route{
			{Table: rules.TableLocal, Dst: netip.MustParsePrefix("198.51.100.1/32"), Type: rules.RouteLocal, Dev: "eth0"},
			{Table: rules.TableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: rules.RouteUnicast, Dev: "eth0"},
		}
		out := rules.NewEvaluator(set, env).Walk(p)
		if (out.Verdict == rules.Unknown) != (out.End == rules.Undetermined) {
			t.Errorf("%s, but %s", out.Verdict, out.End)
		}
		if out.Verdict == rules.Unknown && len(out.Unknowns) == 0 {
			t.Error("unknown without a reason")
		}
	})
}

// Chains that send packets round and round end as unknown.
func TestCyclesEnd(t *testing.T) {
	for _, text := range []string{
		"*filter\n-A FORWARD -g A\n-A A -g B\n-A B -g A\n",
		"*filter\n-A FORWARD -j A\n-A A -j A\n",
	} {
		set, err := rules.ParseSave(text, "ip", rules.NFT)
		if err != nil {
			t.Fatal(err)
		}
		out := rules.NewEvaluator(set, rules.Env{}).Hook("forward", rules.Packet{
			Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("198.51.100.1"), Proto: rules.TCP,
		})
		if out.Verdict != rules.Unknown || len(out.Unknowns) == 0 {
			t.Errorf("%q: %s %v", text, out.Verdict, out.Unknowns)
		}
	}
}

// A match without a model is unknown where it matters, and only there.
func TestUnknownIsNeverGuessed(t *testing.T) {
	for _, c := range []struct {
		text string
		want rules.Verdict
	}{
		{"-A FORWARD -m string --string x --algo bm -j DROP\n", rules.Unknown},
		{"-A FORWARD -m string --string x --algo bm -j LOG\n", rules.Accept},
		{"-A FORWARD -m string --string x --algo bm -j DROP\n-A FORWARD -j DROP\n", rules.Drop},
		{"-A FORWARD -m limit --limit 1/sec -j ACCEPT\n-A FORWARD -j DROP\n", rules.Unknown},
		{"-A FORWARD -j FANCY --with option\n", rules.Unknown},
		{"-A FORWARD -m ttl --ttl-eq 1 -j DROP\n", rules.Unknown},
		{"-A FORWARD -p udp -m string --string x -j DROP\n", rules.Accept},
	} {
		set, err := rules.ParseSave("*filter\n"+c.text, "ip", rules.NFT)
		if err != nil {
			t.Fatal(err)
		}
		out := rules.NewEvaluator(set, rules.Env{}).Hook("forward", rules.Packet{
			Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("198.51.100.1"), Proto: rules.TCP,
		})
		if out.Verdict != c.want {
			t.Errorf("%s: %s, want %s", c.text, out.Verdict, c.want)
		}
	}
}
