// Package function finds the kernel's functions that a packet is to be stamped
// in: which names this kernel has, whether they may be probed, and which
// argument leads to the packet. All of it is pure but for Read.
//
//	table, names asked for + symbols + BTF -> Probes -> cookies
package function

// Spec is a function that vethtrace knows.
type Spec struct {
	Layer string   // bridge, netfilter, veth, softirq, ip, tcp
	Names []string // of kernels old and new: the first that there is
	// Returns is set where a packet comes out of the function in the hop in which
	// it went in. Others hand it on from inside: their return says nothing of it.
	Returns bool
	Poll    bool   // of a softirq: it has no packet, the next one that is taken up belongs to it
	Tables  bool   // has a netfilter table, which is a part of its name
	What    string // what it does, for docs/hops.md
}

// Table returns the functions of detail functions, in the order in which a
// packet meets layers on its way from the wire to a container.
func Table() []Spec {
	var all []Spec
	for _, layer := range [][]Spec{softirq(), ip(), netfilter(), bridge(), veth()} {
		all = append(all, layer...)
	}
	return all
}

func softirq() []Spec {
	return []Spec{
		{Layer: "softirq", Names: []string{"process_backlog"}, Poll: true, What: "the softirq begins to work through a CPU's backlog: what is before it was waiting for it, what is behind it waiting for packets in front"},
		{Layer: "softirq", Names: []string{"__netif_receive_skb"}, What: "a packet is taken from the backlog"},
		{Layer: "softirq", Names: []string{"gro_receive_skb", "napi_gro_receive"}, What: "a packet of NAPI is taken up"},
	}
}

func ip() []Spec {
	return []Spec{
		{Layer: "ip", Names: []string{"ip_rcv"}, What: "IPv4 receives"},
		{Layer: "ip", Names: []string{"ip_rcv_core"}, Returns: true, What: "checks of the IPv4 header"},
		{Layer: "ip", Names: []string{"ip_rcv_finish"}, What: "behind PRE_ROUTING"},
		{Layer: "tcp", Names: []string{"tcp_v4_early_demux"}, Returns: true, What: "looks for a local socket before routing"},
		{Layer: "ip", Names: []string{"ip_route_input_noref"}, Returns: true, What: "route lookup"},
		{Layer: "ip", Names: []string{"ip_forward"}, What: "forwarding: TTL, MTU, options"},
		{Layer: "ip", Names: []string{"ip_local_deliver"}, What: "for this namespace: reassembly"},
		{Layer: "ip", Names: []string{"ip_output"}, What: "leaves the namespace, to POST_ROUTING"},
		{Layer: "ip", Names: []string{"ip_finish_output2"}, What: "behind POST_ROUTING: neighbour lookup"},
		{Layer: "ip", Names: []string{"ipv6_rcv"}, What: "IPv6 receives"},
		{Layer: "ip", Names: []string{"ip6_route_input"}, Returns: true, What: "IPv6 route lookup"},
		{Layer: "ip", Names: []string{"ip6_forward"}, What: "IPv6 forwarding"},
		{Layer: "ip", Names: []string{"ip6_output"}, What: "IPv6: leaves the namespace, to POST_ROUTING"},
	}
}

func netfilter() []Spec {
	return []Spec{
		{Layer: "netfilter", Names: []string{"nf_conntrack_in"}, Returns: true, What: "connection tracking: lookup, state"},
		{Layer: "netfilter", Names: []string{"nf_nat_inet_fn"}, Returns: true, What: "address translation; the first packet of a flow runs the rules of the NAT table in it"},
		{Layer: "netfilter", Names: []string{"nf_nat_manip_pkt"}, Returns: true, What: "rewrites addresses and ports"},
		{Layer: "netfilter", Names: []string{"nft_do_chain"}, Returns: true, What: "rules of nftables (also of iptables-nft)"},
		{Layer: "netfilter", Names: []string{"ipt_do_table"}, Returns: true, Tables: true, What: "rules of legacy iptables, one table"},
		{Layer: "netfilter", Names: []string{"ip6t_do_table"}, Returns: true, Tables: true, What: "the same of IPv6"},
		{Layer: "netfilter", Names: []string{"nf_confirm", "nf_conntrack_confirm", "ipv4_confirm"}, Returns: true, What: "confirms a new connection: behind the last place that a netfilter link can take"},
		{Layer: "netfilter", Names: []string{"__nf_conntrack_confirm"}, Returns: true, What: "puts a new connection into the table"},
	}
}

func bridge() []Spec {
	return []Spec{
		{Layer: "bridge", Names: []string{"br_handle_frame"}, What: "a frame comes in by a port"},
		{Layer: "bridge", Names: []string{"br_nf_pre_routing"}, What: "br_netfilter: calls PRE_ROUTING from the bridge"},
		{Layer: "bridge", Names: []string{"br_nf_pre_routing_finish"}, What: "br_netfilter: behind PRE_ROUTING"},
		{Layer: "bridge", Names: []string{"br_handle_frame_finish"}, What: "looks up the port that the frame goes out by"},
		{Layer: "bridge", Names: []string{"br_pass_frame_up"}, What: "the frame is for the host"},
		{Layer: "bridge", Names: []string{"br_dev_xmit"}, What: "the host sends into the bridge"},
		{Layer: "bridge", Names: []string{"br_forward"}, What: "to one port"},
		{Layer: "bridge", Names: []string{"br_flood"}, What: "to all ports"},
		{Layer: "bridge", Names: []string{"br_nf_forward", "br_nf_forward_ip"}, What: "br_netfilter: calls FORWARD from the bridge"},
		{Layer: "bridge", Names: []string{"br_nf_post_routing"}, What: "br_netfilter: calls POST_ROUTING from the bridge"},
		{Layer: "bridge", Names: []string{"br_dev_queue_push_xmit"}, What: "the frame leaves by a port"},
	}
}

func veth() []Spec {
	return []Spec{
		{Layer: "veth", Names: []string{"dev_hard_start_xmit"}, What: "a device's queueing discipline is behind"},
		{Layer: "veth", Names: []string{"veth_xmit"}, What: "the crossing"},
		{Layer: "veth", Names: []string{"__dev_forward_skb"}, Returns: true, What: "scrubs what must not cross namespaces"},
		{Layer: "veth", Names: []string{"veth_poll"}, Poll: true, What: "where a veth runs NAPI: the softirq begins to receive"},
	}
}

// known returns the row that has a name, and one of its own for any other: of
// a function that nothing is known of, returns are wanted too.
func known(name string) Spec {
	for _, spec := range Table() {
		for _, n := range spec.Names {
			if n == name {
				spec.Names = []string{name}
				return spec
			}
		}
	}
	return Spec{Layer: "asked for", Names: []string{name}, Returns: true}
}
