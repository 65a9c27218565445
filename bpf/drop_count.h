/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Drops in their tables, and what a freed packet still says about itself. */
#ifndef VT_DROP_COUNT_H
#define VT_DROP_COUNT_H

static __always_inline void vt_add_drop(const struct vt_drop_key *key)
{
	__u64 one = 1, *count;

	count = bpf_map_lookup_elem(&vt_drops, key);
	if (count) {
		__sync_fetch_and_add(count, 1);
		return;
	}
	if (!bpf_map_update_elem(&vt_drops, key, &one, 1 /* BPF_NOEXIST */))
		return;
	/* another CPU was faster, or the table is full */
	count = bpf_map_lookup_elem(&vt_drops, key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		vt_note(drops_unlisted);
}

/*
 * The transport layer has taken the packet and is done with it: TCP frees so what
 * it has answered for a connection that is over, IPv6 fragments that are a
 * packet now, and a socket that is closed what nobody has read, a FIN as a rule.
 * That is no drop of the network's. What is one has a reason with a name.
 */
static __always_inline bool vt_settled(__u32 reason)
{
	return reason == cfg_reason_purge || reason == cfg_reason_none;
}

/* Was it thrown away as no more than a packet to a group? */
static __always_inline bool vt_unjoined(struct sk_buff *skb, __u32 reason)
{
	return reason == cfg_reason_none && VT_BITFIELD(skb, pkt_type) == VT_PACKET_MULTICAST;
}

/* What a freed packet still says about where it was. */
struct vt_place {
	__u32 netns; /* 0: not known */
	__u32 ifindex; /* of its device, 0 none */
	__u32 out; /* of the device that its route leads to, 0 none */
	__u8 role; /* of its device */
	bool local; /* its route leads to this namespace's own sockets */
};

static __always_inline void vt_find_place(struct sk_buff *skb, struct vt_place *place)
{
	__u64 route = vt_get(skb, _skb_refdst) & ~1ULL, address = 0; /* bit 0: not counted (SKB_DST_NOREF) */
	struct net_device *device, *out;
	struct vt_device *known;
	struct sock *sk = vt_get(skb, sk);

	if (route) {
		out = vt_get(vt_cast(struct dst_entry, route), dev);
		place->out = vt_get(out, ifindex);
		place->local = vt_get(out, flags) & 8 /* IFF_LOOPBACK */;
	}
	/* UDP keeps a size where the device was (dev_scratch): a pointer of the kernel has its top bit set */
	bpf_probe_read_kernel(&address, sizeof(address), &skb->dev);
	if (address >> 63) {
		device = vt_cast(struct net_device, address);
		place->netns = vt_netns(device);
		place->ifindex = vt_get(device, ifindex);
		known = vt_lookup_device(place->netns, place->ifindex);
		place->role = known ? known->role : VT_ROLE_NONE;
	} else if (sk) {
		place->netns = vt_netns_of(sk);
	} else if (route) {
		place->netns = vt_netns(out);
	}
}

static __always_inline void vt_join_address(const union nf_inet_addr *from, bool ipv6, __u64 *high, __u64 *low)
{
	*high = 0;
	*low = 0xffffULL << 32 | vt_get(from, all[0]);
	if (ipv6) {
		*high = (__u64)vt_get(from, all[1]) << 32 | vt_get(from, all[0]);
		*low = (__u64)vt_get(from, all[3]) << 32 | vt_get(from, all[2]);
	}
}

/* What connection tracking knows of a packet that was dropped. */
static __always_inline void vt_keep_connection(struct sk_buff *skb, bool ipv6, struct vt_dropped *to)
{
	__u64 conntrack = vt_get(skb, _nfct);
	struct nf_conntrack_tuple *opened;
	struct nf_conn *flow;

	to->ctinfo = conntrack & VT_NFCT_INFO;
	if (conntrack <= VT_NFCT_INFO)
		return;
	flow = vt_cast(struct nf_conn, conntrack & ~VT_NFCT_INFO);
	opened = &flow->tuplehash[0].tuple;
	to->tracked = 1;
	to->status = vt_get(flow, status);
	to->opened_source_port = vt_get(opened, src.u.all);
	to->opened_target_port = vt_get(opened, dst.u.all);
	vt_join_address(&opened->src.u3, ipv6, &to->opened_source_high, &to->opened_source_low);
	vt_join_address(&opened->dst.u3, ipv6, &to->opened_target_high, &to->opened_target_low);
}

/* Keeps what rules may ask of a packet that one of them dropped. */
VT_COLD int vt_keep_dropped(struct sk_buff *skb, const struct vt_drop_key *drop)
{
	struct vt_dropped_key key = { .drop = *drop };
	struct vt_dropped dropped = { .count = 1 }, *known;
	struct vt_place place = {};
	struct vt_packet packet;
	unsigned char *transport;

	if (!vt_parse(skb, &packet))
		return 0;
	key.source_high = packet.source_high;
	key.source_low = packet.source_low;
	key.target_high = packet.target_high;
	key.target_low = packet.target_low;
	key.target_port = packet.target_port;
	key.protocol = packet.protocol;
	known = bpf_map_lookup_elem(&vt_dropped_packets, &key);
	if (known) {
		__sync_fetch_and_add(&known->count, 1);
		return 0;
	}
	vt_find_place(skb, &place);
	dropped.netns = place.netns;
	dropped.ifindex = place.ifindex;
	dropped.out = place.out;
	dropped.role = place.role;
	dropped.local = place.local;
	dropped.source_port = packet.source_port;
	vt_keep_connection(skb, packet.ipv6, &dropped);
	transport = vt_network(skb) + vt_header(packet.first, packet.ipv6);
	if (packet.protocol == VT_IPPROTO_TCP) {
		dropped.tcp_flags = vt_word(transport + 8) >> 40;
	} else if (packet.protocol == VT_IPPROTO_ICMP || packet.protocol == VT_IPPROTO_ICMPV6) {
		dropped.icmp_type = vt_word(transport);
		dropped.icmp_code = vt_word(transport) >> 8;
	}
	bpf_map_update_elem(&vt_dropped_packets, &key, &dropped, 1 /* BPF_NOEXIST */);
	return 0;
}

#endif
