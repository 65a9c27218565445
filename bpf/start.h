/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which packets begin a journey, and whose they are. */
#ifndef VT_START_H
#define VT_START_H

/* What is known of a packet when its journey begins. Numbers of targets are plus 1, 0 none. */
struct vt_origin {
	__u16 target[2];
	__u16 peer[2];
	__u8 flags;
	bool process; /* softirqs may come between: not at devices, where they are off */
	__u32 hook;
	__u32 ifindex;
};

/*
 * May this packet start a journey, after --proto, --port and --peer? Global: the
 * verifier then follows its branches once per program.
 */
__noinline int vt_passes_filter(const struct vt_packet *packet)
{
	if (!packet)
		return false;
	if (cfg_filter_protocol && packet->protocol != cfg_filter_protocol &&
	    !(cfg_filter_protocol == VT_IPPROTO_ICMP && packet->protocol == VT_IPPROTO_ICMPV6))
		return false;
	if (cfg_filter_port) {
		__u16 source = packet->source_port, target = packet->target_port;
		bool found = vt_filter_ports[source >> 6] >> (source & 63) & 1;

		if (!found && !(vt_filter_ports[target >> 6] >> (target & 63) & 1))
			return false;
	}
	if (cfg_filter_peer) {
		bool source = (packet->source_high & cfg_peer_mask_high) == cfg_peer_high &&
			      (packet->source_low & cfg_peer_mask_low) == cfg_peer_low;
		bool target = (packet->target_high & cfg_peer_mask_high) == cfg_peer_high &&
			      (packet->target_low & cfg_peer_mask_low) == cfg_peer_low;

		if (!source && !target)
			return false;
	}
	return true;
}

static __always_inline bool vt_wanted_packet(const struct vt_packet *packet)
{
	if (!cfg_filter_protocol && !cfg_filter_port && !cfg_filter_peer)
		return true;
	return vt_passes_filter(packet);
}

static __always_inline __u64 *vt_refused_of(__u64 key)
{
	return &vt_refusals[(key * 0x9e3779b97f4a7c15ULL) >> (64 - 10) & (VT_REFUSED - 1)];
}

/* VT_FLAG_NEW for a SYN: so a flow's first packet is told apart also where conntrack does not look. */
static __always_inline __u8 vt_opens(const unsigned char *network, const struct vt_packet *packet)
{
	__u64 third;

	if (packet->protocol != VT_IPPROTO_TCP)
		return 0;
	/* a SYN behind extension headers, or in fragments, is told by conntrack alone */
	if (VT_UNLIKELY(vt_is_fragment(packet) || (packet->ipv6 && (__u8)(packet->first >> 48) != VT_IPPROTO_TCP)))
		return 0;
	/* acknowledgement number, header length, flags: SYN 2, ACK 16 */
	third = vt_word(network + vt_header(packet->first, packet->ipv6) + 8);
	return (third >> 40 & 18) == 2 ? VT_FLAG_NEW : 0;
}

/*
 * Begins a journey and writes its first stamp. Counts it as started for each
 * of its targets, and as evicted where there is no slot. Returns its slot, or NULL.
 */
static __always_inline struct vt_slot *vt_start(struct sk_buff *skb, const struct vt_packet *packet,
						const struct vt_origin *origin, struct vt_found *found)
{
	unsigned char *network = vt_network(skb);
	__u64 key = vt_key(skb), now;
	struct vt_slot *slot;

	if (origin->process) {
		vt_count(origin->target[VT_INGRESS], VT_INGRESS, started, 1);
		vt_count(origin->target[VT_EGRESS], VT_EGRESS, started, 1);
	} else {
		vt_count_softirq(origin->target[VT_INGRESS], VT_INGRESS, started, 1);
		vt_count_softirq(origin->target[VT_EGRESS], VT_EGRESS, started, 1);
	}
	*found = vt_claim(key);
	if (!found->owner) {
		*vt_refused_of(key) = key;
		vt_any_refused = 1;
		vt_count(origin->target[VT_INGRESS], VT_INGRESS, evicted, 1);
		vt_count(origin->target[VT_EGRESS], VT_EGRESS, evicted, 1);
		return NULL;
	}
	slot = vt_slot_of(*found);
	slot->protocol = packet->protocol;
	slot->ident = vt_ident_of(packet->first, network, packet->ipv6, packet->protocol);
	slot->birth = vt_birth(skb);
	slot->hash = 0;
	slot->ready = 0;
	/* behind the link layer, wherever skb->data stands at this hook */
	slot->length = vt_get(skb, len) - vt_link_header(skb);
	slot->skew = 0;
	slot->target[VT_INGRESS] = origin->target[VT_INGRESS];
	slot->target[VT_EGRESS] = origin->target[VT_EGRESS];
	slot->peer[VT_INGRESS] = origin->peer[VT_INGRESS];
	slot->peer[VT_EGRESS] = origin->peer[VT_EGRESS];
	slot->segments = vt_segments(skb);
	slot->stamps = 0;
	slot->flags = origin->flags | (packet->ipv6 ? VT_FLAG_IPV6 : 0) | vt_opens(network, packet);
	vt_oracle_began(skb, found->index);
	/* the clock last: what a start does more than another stamp belongs to no hop */
	now = bpf_ktime_get_ns();
	slot->start = now;
	vt_write(slot, *found, origin->hook, origin->ifindex, now);
	if (VT_UNLIKELY(vt_is_fragment(packet))) {
		struct vt_look look;

		vt_look_at(skb, &look);
		vt_chain(&look, found->index, 0);
	}
	vt_begin(found);
	return slot;
}

/*
 * A packet from outside, or from this host: to a target's own address, to a
 * port of the host that belongs to one, or the answer to a flow that one opened.
 */
static __always_inline int vt_destined(const struct vt_packet *packet)
{
	__u32 owner;

	if (!packet)
		return 0;
	owner = vt_lookup_address(packet->target_high, packet->target_low);
	if (!owner)
		return 0;
	if (owner != VT_ADDRESS_HOST)
		return owner;
	owner = vt_lookup_port(packet->protocol, packet->target_port) & ~VT_PORT_PUBLISHED;
	return owner ? owner : vt_lookup_flow(packet);
}

/*
 * A packet from outside reached a target's device unannounced: the host sends
 * something on to it (DNAT) that no engine told. Conntrack knows under which
 * port; from the next packet on its journeys begin at the uplink.
 */
VT_COLD void vt_learn_published(struct sk_buff *skb, __u16 target)
{
	__u64 conntrack = vt_get(skb, _nfct);
	struct nf_conntrack_tuple *original;
	__u64 high, low;
	__u16 port, *owner;
	__u8 protocol;

	/* IP_CT_ESTABLISHED, RELATED and NEW are of the original direction; answers belong to flows */
	if (conntrack <= VT_NFCT_INFO || (conntrack & VT_NFCT_INFO) > VT_CT_NEW)
		return;
	original = &vt_cast(struct nf_conn, conntrack & ~VT_NFCT_INFO)->tuplehash[0].tuple;
	if (vt_get(original, src.l3num) == VT_NFPROTO_IPV4) {
		high = 0;
		low = 0xffffULL << 32 | vt_get(original, dst.u3.all[0]);
	} else {
		high = (__u64)vt_get(original, dst.u3.all[1]) << 32 | vt_get(original, dst.u3.all[0]);
		low = (__u64)vt_get(original, dst.u3.all[3]) << 32 | vt_get(original, dst.u3.all[2]);
	}
	if (vt_lookup_address(high, low) != VT_ADDRESS_HOST)
		return;
	port = bpf_ntohs(vt_get(original, dst.u.all));
	protocol = vt_get(original, dst.protonum);
	if (protocol != VT_IPPROTO_TCP && protocol != VT_IPPROTO_UDP)
		return;
	owner = &vt_ports[protocol == VT_IPPROTO_UDP][port];
	if (!*owner)
		*owner = target | VT_PORT_PUBLISHED;
}

/* At detail `devices` all that a target sends begins at its device, and nothing before. */
static __always_inline bool vt_starts_here(__u32 direction)
{
	return cfg_end_at_device && direction == VT_EGRESS;
}

/*
 * Counts a journey that has just begun late as a copy of another packet, if it
 * is one: a bridge that floods, or sends to a group, makes copies that share
 * their data; IP cuts a packet that has a journey into fragments, and goes on
 * with the first one. Global: verified once.
 */
__noinline int vt_count_copy(__u32 index, __u32 shared, __u32 in, __u32 out)
{
	struct vt_found found = { .index = index };
	struct vt_slot *slot = vt_slot_of(found);

	if (!shared && !(slot->flags & VT_FLAG_FRAGMENT && slot->ready & VT_READY_CUT))
		return 0;
	slot->flags |= VT_FLAG_COPY;
	vt_count(in, VT_INGRESS, started, -1);
	vt_count(in, VT_INGRESS, cloned, 1);
	vt_count(out, VT_EGRESS, started, -1);
	vt_count(out, VT_EGRESS, cloned, 1);
	return 0;
}

/* Is this one of several copies that a bridge has made? TCP sends copies too, of what it may have to send again. */
static __always_inline bool vt_shared(struct sk_buff *skb, __u32 hook)
{
	return hook == VT_HOOK_PORT_EGRESS && VT_BITFIELD(skb, cloned) && VT_BITFIELD(skb, fclone) != VT_FCLONE_CLONE;
}

/*
 * A packet at a target's device, or at its other end, that has no journey: it
 * began unseen (a raw socket, a bridge's copy, a container that is no target),
 * was never wanted, or had found its set full. `last` is set where each packet
 * passes once, so that it is counted there. Returns its slot, or NULL.
 */
VT_COLD struct vt_slot *vt_start_late(struct sk_buff *skb, const struct vt_origin *origin, __u32 direction, bool last,
				      struct vt_found *found)
{
	__u64 key = vt_key(skb), *refused = vt_refused_of(key);
	__u16 target = origin->target[direction & 1];
	struct vt_packet packet;
	__u32 reason;

	if (VT_UNLIKELY(vt_any_refused) && *refused == key) {
		if (last)
			*refused = 0;
		return NULL;
	}
	if (!vt_parse_brief(skb, &packet))
		reason = VT_SKIP_NOT_IP;
	else if (!vt_wanted_packet(&packet))
		reason = VT_SKIP_FILTERED;
	else if (!vt_open || (!vt_starts_here(direction) && bpf_ktime_get_ns() - vt_open < VT_SETTLE_NS))
		reason = VT_SKIP_ATTACHING;
	else {
		struct vt_slot *slot;

		if (!last)
			vt_learn_published(skb, target);
		slot = vt_start(skb, &packet, origin, found);
		if (slot)
			vt_count_copy(found->index, vt_shared(skb, origin->hook), origin->target[VT_INGRESS],
				      origin->target[VT_EGRESS]);
		return slot;
	}
	if (last)
		vt_count(target, direction, skipped[reason & (VT_SKIP_MAX - 1)], 1);
	return NULL;
}

/* Makes a target known that a journey meets on its way: it counts as started there too. */
VT_COLD void vt_join(struct vt_slot *slot, __u16 target, __u32 direction)
{
	__u16 other = slot->target[!direction];

	if (slot->target[direction] == target)
		return;
	/* a guess at the start may have been wrong: then it was never that target's packet */
	vt_count(slot->target[direction], direction, started, -1);
	slot->target[direction] = target;
	vt_count(target, direction, started, 1);
	if (other) {
		slot->peer[direction] = VT_PEER_TARGET + other - 1;
		slot->peer[!direction] = VT_PEER_TARGET + target - 1;
	}
}

/* A journey that began by a guess which its way has shown to be wrong: it was never that target's. */
VT_COLD void vt_forget(struct vt_slot *slot, struct vt_found found)
{
	if (!vt_seize(found))
		return;
	vt_count(slot->target[VT_INGRESS], VT_INGRESS, started, -1);
	vt_count(slot->target[VT_EGRESS], VT_EGRESS, started, -1);
	vt_vacate(found);
}

#endif
