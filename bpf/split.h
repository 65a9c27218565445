/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A device that cannot take large packets gets their segments: new packets,
 * made between its tcx egress and its driver, at once and on one CPU where it
 * has no queue. The first one goes on with the journey, the others are copies.
 */
#ifndef VT_SPLIT_H
#define VT_SPLIT_H

/* The owner word of a slot that is kept for the stamps in it: of no packet, and nobody's to take. */
static __always_inline __u64 vt_kept(__u64 owner)
{
	return (owner & VT_GENERATION_MASK) | VT_STATE_BUSY;
}

/* No more segments of the packet that was noted. */
VT_COLD void vt_whole_over(struct vt_global *global)
{
	struct vt_found whole = { .index = global->whole_at - 1, .owner = vt_kept(global->whole) };

	if (global->whole_at)
		vt_vacate(whole);
	global->whole = global->whole_at = 0;
}

/* What the segments of a packet are known by, noted before it is cut. */
VT_COLD void vt_note_whole(struct sk_buff *skb, __u64 owner, bool ipv6)
{
	struct vt_global *global = vt_global_of();
	unsigned char *network = vt_network(skb);

	if (!global)
		return;
	vt_whole_over(global);
	global->whole = owner;
	global->whole_first = vt_word(network);
	global->whole_numbers = vt_word(network + vt_header(global->whole_first, ipv6) + 4);
}

/* Notes that a packet which may be cut is about to leave. */
static __always_inline void vt_may_split(struct sk_buff *skb, struct vt_slot *slot, struct vt_found found)
{
	if (cfg_splits && slot->segments > 1)
		vt_note_whole(skb, found.owner, slot->flags & VT_FLAG_IPV6);
}

/* Is this packet one of those that the noted one was cut into? */
static __always_inline bool vt_segment_of(struct vt_global *global, struct vt_slot *whole, struct sk_buff *skb,
					  struct net_device *dev)
{
	bool ipv6 = whole->flags & VT_FLAG_IPV6;
	unsigned char *network = vt_network(skb);
	__u32 last = whole->stamps - 1;
	__u64 first, numbers;

	/* at the device where it was noted: further on others are cut */
	if (last >= VT_STAMPS)
		return false;
	barrier_var(last);
	if (last >= VT_STAMPS || whole->ifindex[last] != vt_get(dev, ifindex) ||
	    (vt_last_hook(whole) == VT_HOOK_PORT_EGRESS) != (vt_netns(dev) == cfg_host_netns))
		return false;
	if (vt_get(skb, protocol) != (ipv6 ? bpf_htons(VT_ETH_P_IPV6) : bpf_htons(VT_ETH_P_IP)))
		return false;
	if (whole->birth && (__u64)vt_get(skb, tstamp) != whole->birth)
		return false;
	first = vt_word(network);
	if (!ipv6) {
		__u16 ids = bpf_ntohs((__u16)(first >> 32)) - bpf_ntohs((__u16)(global->whole_first >> 32));

		if (ids > whole->segments)
			return false;
	}
	if (whole->protocol != VT_IPPROTO_TCP)
		return true;
	numbers = vt_word(network + vt_header(first, ipv6) + 4);
	return numbers >> 32 == global->whole_numbers >> 32 &&
	       bpf_ntohl((__u32)numbers) - bpf_ntohl((__u32)global->whole_numbers) < whole->length;
}

/* Begins the journey of a segment with the stamps of the whole. */
VT_COLD void vt_split(struct sk_buff *skb, struct vt_found whole, bool first)
{
	struct vt_slot *from = vt_slot_of(whole), *to;
	struct vt_found found = vt_claim(vt_key(skb));
	__u16 in = from->target[VT_INGRESS], out = from->target[VT_EGRESS];

	if (!first) {
		vt_count(in, VT_INGRESS, cloned, 1);
		vt_count(out, VT_EGRESS, cloned, 1);
	}
	if (!found.owner) {
		vt_count(in, VT_INGRESS, evicted, 1);
		vt_count(out, VT_EGRESS, evicted, 1);
		return;
	}
	to = vt_slot_of(found);
	to->protocol = from->protocol;
	to->flags = (from->flags & ~VT_FLAG_COPY) | (first ? from->flags & VT_FLAG_COPY : VT_FLAG_COPY);
	to->ident = vt_ident(skb, from->flags & VT_FLAG_IPV6, from->protocol);
	to->birth = from->birth;
	to->ready = 0;
	to->length = vt_get(skb, len) - vt_link_header(skb);
	to->target[VT_INGRESS] = in;
	to->target[VT_EGRESS] = out;
	to->peer[VT_INGRESS] = from->peer[VT_INGRESS];
	to->peer[VT_EGRESS] = from->peer[VT_EGRESS];
	to->segments = 1;
	vt_copy_stamps(to, from, found.owner);
	vt_oracle_began(skb, found.index);
	vt_begin(&found);
}

/* A device's driver gets a packet: a segment of the one that was last noted? */
SEC(VT_TP "net_dev_start_xmit")
int BPF_PROG(vt_segment, struct sk_buff *skb, struct net_device *dev)
{
	struct vt_global *global = vt_global_of();
	struct vt_found whole;
	bool first;

	vt_run(VT_TYPE_TRACEPOINT);
	if (!global || !global->whole)
		return 0;
	first = !global->whole_at;
	if (first) {
		whole = vt_find(global->whole & ~(VT_GENERATION_MASK | VT_STATE_MASK), VT_STATE_LIVE);
		if (whole.owner != global->whole ||
		    (whole.owner & ~(VT_GENERATION_MASK | VT_STATE_MASK)) == vt_key(skb))
			goto over; /* it was not cut */
	} else {
		whole.index = global->whole_at - 1;
	}
	if (!vt_segment_of(global, vt_slot_of(whole), skb, dev))
		goto over;
	if (first) {
		if (!vt_seize(whole))
			goto over;
		/* its address may be used again while there are segments to come */
		vt_publish(vt_owner_of(whole), vt_kept(whole.owner));
		global->whole_at = whole.index + 1;
	}
	vt_split(skb, whole, first);
	return 0;
over:
	vt_whole_over(global);
	return 0;
}

#endif
