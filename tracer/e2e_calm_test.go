package tracer_test

import (
	"errors"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
)

// calm keeps a node's neighbours from being probed during the test, and its
// TCP from acknowledging by a timer: that runs in the context of any process,
// and a kernel may keep programs off the tracepoints of some (see limitations).
func (s *stage) calm(nodes ...*lab.Node) {
	s.t.Helper()
	for _, node := range nodes {
		for _, family := range []string{"ipv4", "ipv6"} {
			s.must(node.NS.Do(func() error {
				links, err := netlink.LinkList()
				for _, l := range links {
					err = errors.Join(err,
						node.Sysctl("net/"+family+"/neigh/"+l.Attrs().Name+"/delay_first_probe_time", "600"),
						node.Sysctl("net/ipv6/conf/"+l.Attrs().Name+"/router_solicitations", "0"))
				}
				return err
			}))
		}
		s.must(node.NS.Do(acknowledgeAtOnce))
	}
}

// acknowledgeAtOnce makes TCP of this namespace delay no acknowledgement.
func acknowledgeAtOnce() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	for _, route := range routes {
		route.QuickACK, route.Flags = 1, 0 // flags are states of the device, which no request may have
		err = errors.Join(err, netlink.RouteReplace(&route))
	}
	return err
}
