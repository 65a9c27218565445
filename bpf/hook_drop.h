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

static __always_inline void vt_drop_live(struct sk_buff *skb, struct vt_slot *slot, struct vt_found found,
					 __u32 reason)
{
	__u64 none[2] = {}, now = bpf_ktime_get_ns();

	if (!vt_seize(found)) {
		vt_note(raced);
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
	vt_release(found);
}

SEC("tp_btf/kfree_skb")
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
	if (!found.owner || !vt_held(vt_slot_of(found), skb)) {
		if (cfg_budget)
			vt_drop_unseen(skb, reason);
		return 0;
	}
	slot = vt_slot_of(found);
	if (slot->target[VT_INGRESS] && vt_seize(found)) {
		vt_count_drop(skb, slot, VT_INGRESS, reason, true);
		slot->target[VT_INGRESS] = 0; /* once */
		vt_release(found);
	}
	return 0;
}

#endif
