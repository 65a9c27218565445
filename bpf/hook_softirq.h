/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tracepoints between two devices: the crossing of a veth, and the way out of a queue. */
#ifndef VT_HOOK_SOFTIRQ_H
#define VT_HOOK_SOFTIRQ_H

/* A packet from a container that is no target, as it comes out of its veth at the host. */
VT_COLD void vt_from_foreign(struct sk_buff *skb, __u32 hook, __u32 ifindex)
{
	struct vt_device *device = vt_lookup_device(cfg_host_netns, ifindex);
	struct vt_origin origin = { .hook = hook, .ifindex = ifindex };
	struct vt_packet packet;
	struct vt_found found;

	if (!device || device->role != VT_ROLE_FOREIGN || !vt_open)
		return;
	if (!vt_parse(skb, &packet) || !vt_wanted_packet(&packet))
		return;
	origin.target[VT_INGRESS] = vt_destined(&packet);
	origin.peer[VT_INGRESS] = VT_PEER_FOREIGN + device->target;
	if (origin.target[VT_INGRESS])
		vt_start(skb, &packet, &origin, &found);
}

/* A journey that has crossed into another namespace: if nothing of ours is there, it ends. */
VT_COLD_STEP void vt_to_foreign(struct vt_slot *slot, struct vt_found found, __u32 netns, __u32 ifindex)
{
	struct vt_device *device = vt_lookup_device(netns, ifindex);

	if (device && device->role == VT_ROLE_DEVICE)
		return;
	vt_complete_rarely(found.index, found.owner);
}

static __always_inline void vt_crossing(struct sk_buff *skb, __u32 hook)
{
	struct net_device *dev = vt_get(skb, dev);
	__u32 ifindex = vt_get(dev, ifindex);
	struct vt_found found;
	struct vt_slot *slot;
	__u32 netns;

	vt_run(VT_TYPE_TRACEPOINT);
	slot = vt_pass(skb, &found, hook, ifindex);
	if (slot && slot->target[VT_INGRESS])
		return;
	netns = vt_netns(dev);
	if (slot) {
		if (netns != cfg_host_netns)
			vt_to_foreign(slot, found, netns, ifindex);
	} else if (netns == cfg_host_netns) {
		vt_from_foreign(skb, hook, ifindex);
	}
}

/* A packet is queued for the softirq of its new namespace. */
SEC(VT_TP "netif_rx")
int BPF_PROG(vt_netif_rx, struct sk_buff *skb)
{
	vt_crossing(skb, VT_HOOK_NETIF_RX);
	return 0;
}

/* The same where the receiving end of a veth runs NAPI (GRO or XDP): then the softirq wait is over. */
SEC(VT_TP "napi_gro_receive_entry")
int BPF_PROG(vt_gro_receive, struct sk_buff *skb)
{
	struct vt_global *global = vt_global_of();

	vt_crossing(skb, VT_HOOK_GRO_RECEIVE);
	if (global)
		global->gro = vt_find(vt_key(skb), VT_STATE_LIVE).owner;
	return 0;
}

/* What became of it: one that is now a part of another packet has ended here. */
SEC(VT_TP "napi_gro_receive_exit")
int BPF_PROG(vt_gro_exit, int result)
{
	struct vt_global *global = vt_global_of();
	struct vt_found found;
	struct vt_slot *slot;
	__u64 owner;

	vt_run(VT_TYPE_TRACEPOINT);
	if (!global || !global->gro)
		return 0;
	owner = global->gro;
	global->gro = 0;
	if (result < 0 || result > VT_GRO_MERGED_FREE)
		return 0;
	found = vt_find(owner & ~(VT_GENERATION_MASK | VT_STATE_MASK), VT_STATE_LIVE);
	if (found.owner != owner)
		return 0;
	slot = vt_slot_of(found);
	/* what GRO let go meanwhile may have overwritten the word with another packet's */
	if (vt_last_hook(slot) != VT_HOOK_GRO_RECEIVE || !vt_seize(found))
		return 0;
	vt_count(slot->target[VT_INGRESS], VT_INGRESS, merged, 1);
	vt_count(slot->target[VT_EGRESS], VT_EGRESS, merged, 1);
	vt_vacate(found);
	return 0;
}

/* An uplink's queue has let the packet go: the journey ends. */
SEC(VT_TP "net_dev_start_xmit")
int BPF_PROG(vt_start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	struct vt_found found;
	struct vt_slot *slot;
	__u32 at;

	vt_run(VT_TYPE_TRACEPOINT);
	slot = vt_journey(skb, &found);
	if (!slot)
		return 0;
	at = slot->stamps - 1;
	if (at >= VT_STAMPS)
		return 0;
	barrier_var(at);
	if (at >= VT_STAMPS)
		return 0;
	if ((__u8)(slot->stamp[at] >> 48) != VT_HOOK_UPLINK_EGRESS || slot->ifindex[at] != vt_get(dev, ifindex))
		return 0;
	vt_write(slot, found, VT_HOOK_START_XMIT, vt_get(dev, ifindex), bpf_ktime_get_ns());
	vt_complete(slot, found);
	return 0;
}

/* Right behind vt_netif_rx: the zero line of tracepoints. */
SEC(VT_TP "netif_rx")
int BPF_PROG(vt_null_tracepoint, struct sk_buff *skb)
{
	vt_run(VT_TYPE_TRACEPOINT);
	vt_null_hop(skb, VT_HOOK_NETIF_RX, VT_TYPE_TRACEPOINT);
	return 0;
}

#endif
