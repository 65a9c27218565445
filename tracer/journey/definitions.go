package journey

// Definition says what a hop is: the contract behind its name.
type Definition struct {
	Name    string // as Hops returns it; under detail tables netfilter hops carry the chain's table behind it
	From    string // hooks it can start at
	To      string // hooks it can end at
	Between string // what the kernel does there
	Paths   string // on which paths it is seen
}

// Definitions returns all hops that Hops can name, in the order in which a
// packet from the wire to a container and back meets them.
func Definitions() []Definition { return append(throughHost(), toTarget()...) }

func throughHost() []Definition {
	return []Definition{
		{
			"uplink", "uplink/ingress", "host/prerouting/first (detail tables)",
			"ip_rcv: the rest of __netif_receive_skb_core, the header's checks", "from outside",
		},
		{
			"ip", "bridge/ingress, device/ingress, loopback/ingress", "prerouting/first (detail tables)",
			"the same behind another device", "to the host or the container, detail tables",
		},
		{
			"netfilter/prerouting", "uplink/ingress, port/ingress, bridge/ingress, loopback/ingress, prerouting/first", "prerouting/last",
			"PRE_ROUTING: conntrack, mangle, DNAT. At detail hooks with what lies before it (ip_rcv; for packets from a container the bridge's input, which calls it: br_netfilter)",
			"all that the host receives",
		},
		{
			"routing", "host/prerouting/last, bridge/ingress", "host/forward/first, input/first",
			"route lookup, ip_forward's checks", "through the host",
		},
		{
			"netfilter/forward", "host/forward/first", "host/forward/last",
			"FORWARD: the DOCKER chains of the filter table", "between outside and a container, or two networks",
		},
		{
			"netfilter/postrouting", "host/forward/last, output/last", "bridge/egress, uplink/egress, loopback/egress, device/egress; detail tables: postrouting/last",
			"POST_ROUTING (MASQUERADE); at detail hooks with confirm+neighbour", "all that leaves the host's stack",
		},
		{
			"confirm+neighbour", "postrouting/last", "bridge/egress, uplink/egress, device/egress",
			"conntrack's confirmation (priority INT_MAX, behind any link), fragmenting, neighbour resolution, __dev_queue_xmit", "detail tables",
		},
		{
			"forwarding", "uplink/ingress, bridge/ingress", "bridge/egress, uplink/egress",
			"routing and all of the host's netfilter hooks in one", "detail devices",
		},
	}
}

func toTarget() []Definition {
	return []Definition{
		{
			"bridge", "bridge/egress, port/ingress, prerouting/last; uplink/ingress where the uplink is a port of the bridge", "port/egress, bridge/ingress, prerouting/first, forward/first",
			"the bridge: forwarding database, port checks, flooding; without the netfilter hooks that it calls where those are stamped", "through the bridge",
		},
		{
			"veth", "port/egress, device/egress", "netif_rx; detail devices: device/ingress, port/ingress",
			"the veth's queueing discipline, veth_xmit, into the other namespace; at detail devices with softirq", "into and out of the container",
		},
		{
			"softirq", "netif_rx, port/egress, device/egress", "device/ingress, port/ingress, napi_gro_receive",
			"waiting for the softirq that receives; where the veth runs NAPI (GRO or XDP) with the veth before it", "into and out of the container",
		},
		{
			"gro", "napi_gro_receive", "device/ingress, port/ingress",
			"generic receive offload", "where the veth runs NAPI",
		},
		{
			"netfilter/input", "device/ingress, prerouting/last, bridge/ingress, input/first", "input/last",
			"LOCAL_IN; at detail hooks with ip_rcv and routing before it", "to the container's or the host's transport layer",
		},
		{
			"netfilter/output", "output/first", "output/last; device/egress and uplink/egress where nothing between is stamped",
			"LOCAL_OUT; in a container at detail hooks with POST_ROUTING and neighbour", "from the container's or the host's transport layer",
		},
		{
			"qdisc", "uplink/egress", "net_dev_start_xmit",
			"the uplink's queueing discipline", "to outside, where the uplink has one; not for packets that are cut into segments behind it",
		},
		{
			"loopback", "loopback/egress", "loopback/ingress, netif_rx",
			"lo: loopback_xmit and its softirq", "from the host to docker-proxy or a host-mode container",
		},
		{
			"device", "a device", "a device upon it",
			"from one device to another one that is stacked on it (macvlan, VLAN)", "containers without a bridge",
		},
		{
			"transport", "input/last", "sk_data_ready",
			"behind the journey's end: drops there are counted under this name, if the kernel names their reason (what a closed " +
				"socket had not read is none); its time is shown as waiting, and never summed in", "to a socket",
		},
	}
}
