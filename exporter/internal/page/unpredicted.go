package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// unpredicted says, a line each, on which paths packets went that the wiring did
// not predict, and which predicted ways nobody was seen on although their devices counted:
//
//	not predicted: in from uplink ipv4 udp, 40 packets: behind uplink/ingress eth0 came port/egress vethef1372a, not host/prerouting
//	not seen: out by eth0 (vethef1372a): the devices counted 40 packets that no path has
func (o Options) unpredicted(t tracer.Target) []string {
	var lines []string
	for _, u := range t.Unpredicted {
		lines = append(lines, o.flow(indent+"not predicted: ", indent+indent, " ", strings.Fields(Unpredicted(t, u)))...)
	}
	for _, u := range t.Unseen {
		lines = append(lines, o.flow(indent+"not seen: ", indent+indent, " ", strings.Fields(Unseen(u)))...)
	}
	return paint(o.styles().alarm, lines)
}

// Unpredicted says which path it is, and where it left the ways that were predicted.
func Unpredicted(t tracer.Target, u tracer.Unpredicted) string {
	of := "path " + Escape(u.Path)
	if i := slices.IndexFunc(t.Paths, func(p tracer.Path) bool { return p.ID == u.Path }); i >= 0 {
		p := t.Paths[i]
		of = strings.Join([]string{way(p.Direction), preposition(p.Direction), Escape(p.Peer), Escape(p.Family), Escape(p.Protocol)}, " ")
	}
	text := of + ", " + plural(u.Packets, "packet") + ": "
	if u.After == "" {
		return text + "begins at " + Escape(u.Seen)
	}
	text += "behind " + Escape(u.After) + " came " + Escape(u.Seen)
	if len(u.Predicted) == 0 {
		return text + ", where it should have ended"
	}
	places := make([]string, len(u.Predicted))
	for i, p := range u.Predicted {
		places[i] = Escape(p)
	}
	return text + ", not " + strings.Join(places, " or ")
}

// Unseen says which way it is, and what its devices counted.
func Unseen(u tracer.Unseen) string {
	return fmt.Sprintf("%s by %s (%s): the devices counted %s that no path has",
		way(u.Direction), Escape(u.Device), Escape(u.Peer), plural(u.Packets, "packet"))
}

func preposition(d tracer.Direction) string {
	if d == tracer.Egress {
		return "to"
	}
	return "from"
}
