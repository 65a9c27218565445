/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets that the kernel frees on their way, with its reason. */
#ifndef VT_HOOK_DROP_H
#define VT_HOOK_DROP_H

/* The last eight hooks of a journey, the latest in the low byte. */
static __always_inline __u64 vt_history(struct vt_slot *slot)
{
	__u64 history = 0;

	for (__u32 i = 0; i < VT_STAMPS; i++) {
		if (i >= slot->stamps)
			break;
		history = history << 8 | (__u8)(slot->stamp[i] >> 48);
	}
	return history;
}

static __always_inline void vt_count_drop(struct sk_buff *skb, struct vt_slot *slot, __u32 direction, __u32 reason,
					  bool after_end)
{
	struct vt_drop_key key = {
		.target = slot->target[direction],
		.direction = direction,
		.after_end = after_end,
		.reason = reason,
		.history = vt_history(slot),
	};
	__u32 last = slot->stamps - 1;

	if (!key.target)
		return;
	if (last < VT_STAMPS) {
		barrier_var(last);
		if (last < VT_STAMPS)
			key.ifindex = slot->ifindex[last];
	}
	vt_add_drop(&key);
	if (cfg_keep_dropped && reason == cfg_reason_netfilter && !after_end)
		vt_keep_dropped(skb, &key);
}

/*
 * A bridge sends what is for a group to each of its ports, and a stack throws
 * away what is for none of its own: neighbours that are looked for, routers that
 * are asked for, listeners that report. Nobody has lost anything, and it was
 * never the target's.
 */
VT_COLD void vt_count_unjoined(struct vt_slot *slot)
{
#pragma clang loop unroll(full)
	for (int direction = 0; direction < 2; direction++) {
		if (slot->flags & VT_FLAG_COPY)
			vt_count(slot->target[direction], direction, cloned, -1);
		else
			vt_count(slot->target[direction], direction, started, -1);
		vt_count(slot->target[direction], direction, skipped[VT_SKIP_GROUP], 1);
	}
}

static __always_inline void vt_drop_live(struct sk_buff *skb, struct vt_slot *slot, struct vt_found found,
					 __u32 reason)
{
	__u64 none[2] = {}, now = bpf_ktime_get_ns();

	if (!vt_seize(found)) {
		vt_note(raced);
		return;
	}
	if (vt_unjoined(skb, reason)) {
		vt_count_unjoined(slot);
		vt_vacate(found);
		return;
	}
	vt_count(slot->target[VT_INGRESS], VT_INGRESS, dropped, 1);
	vt_count(slot->target[VT_EGRESS], VT_EGRESS, dropped, 1);
	vt_count_drop(skb, slot, VT_INGRESS, reason, false);
	vt_count_drop(skb, slot, VT_EGRESS, reason, false);
	if (cfg_whole) {
		__u32 flags = vt_wanted(now - slot->start);

		if (flags != ~0U) {
			vt_write(slot, found, VT_HOOK_KFREE_SKB, 0, now);
			vt_emit_calls(found.index, slot);
			vt_emit(slot, none, flags | VT_FLAG_DROPPED, reason);
		}
	}
	vt_vacate(found);
}

/*
 * Is a freed packet where this journey has ended? Words alone do not tell: a
 * sender that is not connected gives each packet the same ones, and a packet
 * that nobody follows may have the address of one that was read long ago.
 */
VT_COLD bool vt_behind_end(struct sk_buff *skb, struct vt_slot *slot)
{
	__u32 hook = vt_last_hook(slot), last = (slot->stamps - 1) & 63;
	struct vt_place place = {};
	struct vt_device *namespace;

	vt_find_place(skb, &place);
	if (hook == VT_HOOK_UPLINK_EGRESS || hook == VT_HOOK_START_XMIT)
		return place.netns == cfg_host_netns && last < VT_STAMPS && place.ifindex == slot->ifindex[last];
	if (!place.netns) /* it has waited for its reader */
		return slot->target[VT_INGRESS];
	if (hook == vt_nf_hook(0, VT_NF_LOCAL_IN, VT_BORDERS - 1))
		return place.netns == cfg_host_netns && (place.local || !place.out);
	if (!slot->target[VT_INGRESS])
		return place.netns != cfg_host_netns;
	namespace = vt_lookup_device(place.netns, 0);
	return namespace && namespace->target + 1 == slot->target[VT_INGRESS];
}

SEC(VT_TP "kfree_skb")
int BPF_PROG(vt_kfree_skb, struct sk_buff *skb, void *location, __u32 reason)
{
	struct vt_found found;
	struct vt_slot *slot;

	vt_run(VT_TYPE_TRACEPOINT);
	slot = vt_journey(skb, &found);
	if (slot) {
		vt_drop_live(skb, slot, found, reason);
		return 0;
	}
	/* behind the journey's end: the socket had no room, a checksum was wrong, nobody listened */
	found = vt_find(vt_key(skb), VT_STATE_ENDED);
	slot = vt_slot_of(found);
	if (!found.owner || !vt_held(slot, skb) || !vt_behind_end(skb, slot) || !vt_seize(found)) {
		if (cfg_budget)
			vt_drop_unseen(skb, reason);
		return 0;
	}
	if (!vt_settled(reason))
		vt_count_drop(skb, slot, VT_INGRESS, reason, true);
	vt_vacate(found);
	return 0;
}

#endif
