/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budget mode: drops of packets that nobody has followed, as the hooks were
 * away. Whose they are and where they were, the packet itself has to tell.
 */
#ifndef VT_DROP_UNSEEN_H
#define VT_DROP_UNSEEN_H

/* Number plus 1 of the target that an end of a connection belongs to, or 0. */
static __always_inline __u16 vt_owner_of_end(const struct nf_conntrack_tuple *end, __u8 protocol)
{
	__u64 high = 0, low = 0xffffULL << 32 | vt_get(end, src.u3.all[0]);
	__u32 owner;

	if (vt_get(end, src.l3num) != VT_NFPROTO_IPV4) {
		high = (__u64)vt_get(end, src.u3.all[1]) << 32 | vt_get(end, src.u3.all[0]);
		low = (__u64)vt_get(end, src.u3.all[3]) << 32 | vt_get(end, src.u3.all[2]);
	}
	owner = vt_lookup_address(high, low);
	if (owner != VT_ADDRESS_HOST)
		return owner;
	return vt_lookup_port(protocol, bpf_ntohs(vt_get(end, src.u.all))) & ~VT_PORT_PUBLISHED;
}

/*
 * Whose packet it is, by direction. Conntrack knows the ends of a connection on
 * either side of NAT: who opened it is the source of the original direction,
 * who answers that of the reply.
 */
static __always_inline void vt_whose(struct sk_buff *skb, const struct vt_packet *packet, __u16 *target)
{
	__u64 conntrack = vt_get(skb, _nfct);

	if (conntrack > VT_NFCT_INFO) {
		struct nf_conn *flow = vt_cast(struct nf_conn, conntrack & ~VT_NFCT_INFO);
		__u16 client = vt_owner_of_end(&flow->tuplehash[0].tuple, packet->protocol);
		__u16 server = vt_owner_of_end(&flow->tuplehash[1].tuple, packet->protocol);
		bool answer = (conntrack & VT_NFCT_INFO) > VT_CT_NEW;

		target[VT_INGRESS] = answer ? client : server;
		target[VT_EGRESS] = answer ? server : client;
	} else {
		__u32 owner = vt_lookup_address(packet->source_high, packet->source_low);

		if (owner == VT_ADDRESS_HOST)
			owner = vt_lookup_port(packet->protocol, packet->source_port) & ~VT_PORT_PUBLISHED;
		target[VT_INGRESS] = vt_destined(packet);
		target[VT_EGRESS] = owner;
	}
}

/*
 * It is the target's only in the host's namespace and in its own: others may use
 * the same addresses, and a container that is no target is an end. Where nothing
 * tells the namespace, the packet has waited for its reader.
 */
static __always_inline bool vt_counts_for(const struct vt_place *place, __u16 target)
{
	struct vt_device *namespace;

	if (!place->netns || place->netns == cfg_host_netns)
		return true;
	namespace = vt_lookup_device(place->netns, 0);
	return namespace && namespace->target + 1 == target;
}

/* The hook that such a packet would have passed last. */
static __always_inline __u32 vt_hook_at(const struct vt_place *place, __u32 direction, bool verdict)
{
	__u32 side = place->netns != cfg_host_netns;
	__u32 routed = vt_nf_hook(0, VT_NF_PRE_ROUTING, VT_BORDERS - 1);

	if (place->local)
		return side ? VT_HOOK_DEVICE_INGRESS : routed;
	if (place->out && !place->ifindex)
		return vt_nf_hook(side, VT_NF_LOCAL_OUT, 0);
	if (place->out && place->ifindex != place->out)
		return verdict ? vt_nf_hook(0, VT_NF_FORWARD, 0) : routed;
	if (place->out)
		return side ? vt_nf_hook(1, VT_NF_LOCAL_OUT, 0) : vt_nf_hook(0, VT_NF_FORWARD, VT_BORDERS - 1);
	if (verdict)
		return side ? VT_HOOK_DEVICE_INGRESS : VT_HOOK_UPLINK_INGRESS;
	switch (place->role) {
	case VT_ROLE_UPLINK:
		return direction == VT_INGRESS ? VT_HOOK_UPLINK_INGRESS : VT_HOOK_UPLINK_EGRESS;
	case VT_ROLE_BRIDGE:
		return direction == VT_INGRESS ? VT_HOOK_BRIDGE_EGRESS : VT_HOOK_BRIDGE_INGRESS;
	case VT_ROLE_PORT:
		return direction == VT_INGRESS ? VT_HOOK_PORT_EGRESS : VT_HOOK_PORT_INGRESS;
	case VT_ROLE_DEVICE:
		return direction == VT_INGRESS ? VT_HOOK_DEVICE_INGRESS : VT_HOOK_DEVICE_EGRESS;
	}
	return routed;
}

/*
 * Counts it as a journey that began and ended here. Behind the transport
 * layer's door, where journeys have ended, it is one of the drops only.
 */
VT_COLD int vt_drop_unseen(struct sk_buff *skb, __u32 reason)
{
	__u64 key = vt_key(skb), *refused = vt_refused_of(key);
	bool verdict = reason == cfg_reason_netfilter, after_end;
	struct vt_place place = {};
	struct vt_packet packet;
	__u16 target[2] = {};

	/* the copy of a tap is not the packet; one that found no slot is counted as evicted */
	if (reason == cfg_reason_tap || vt_unjoined(skb, reason))
		return 0;
	if (vt_any_refused && *refused == key) {
		*refused = 0;
		return 0;
	}
	if (!vt_parse(skb, &packet) || !vt_wanted_packet(&packet))
		return 0;
	vt_whose(skb, &packet, target);
	/* what a target says to itself crosses no border */
	if (packet.source_high == packet.target_high && packet.source_low == packet.target_low)
		return 0;
	if (!target[VT_INGRESS] && !target[VT_EGRESS])
		return 0;
	vt_find_place(skb, &place);
	after_end = !verdict && (place.local || (!place.role && !place.out));
	if (after_end && vt_settled(reason))
		return 0;
#pragma clang loop unroll(full)
	for (int direction = 0; direction < 2; direction++) {
		struct vt_drop_key drop = {
			.target = target[direction],
			.direction = direction,
			.after_end = after_end,
			.reason = reason,
			.ifindex = place.ifindex,
			.history = vt_hook_at(&place, direction, verdict),
		};

		if (!drop.target || (after_end && direction == VT_EGRESS) || !vt_counts_for(&place, drop.target))
			continue;
		vt_add_drop(&drop);
		if (after_end)
			continue;
		if (cfg_keep_dropped && verdict)
			vt_keep_dropped(skb, &drop);
		vt_count(drop.target, direction, started, 1);
		vt_count(drop.target, direction, dropped, 1);
	}
	return 0;
}

#endif
