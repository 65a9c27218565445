/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The zero line: a program right behind another one, with nothing between them,
 * measures what a stamp costs in place. Its time is taken out of the journey
 * (skew), so that no hop is longer because of it.
 */
#ifndef VT_NULL_H
#define VT_NULL_H

static __always_inline void vt_null_hop(struct sk_buff *skb, __u32 hook, __u32 type)
{
	struct vt_found found = vt_find(vt_key(skb), VT_STATE_LIVE);
	__u32 key = type * (cfg_shard_mask + 1) + vt_shard();
	struct vt_slot *slot;
	struct vt_hist *hist;
	__u64 now, last, took;
	__u32 at;

	if (!found.owner)
		return;
	slot = vt_slot_of(found);
	if (!vt_same(slot, skb))
		return;
	now = bpf_ktime_get_ns();
	at = slot->stamps - 1;
	if (at >= VT_STAMPS)
		return;
	barrier_var(at);
	if (at >= VT_STAMPS)
		return;
	last = slot->stamp[at];
	if ((__u8)(last >> 48) != hook)
		return;
	took = (now - slot->skew - last) & VT_TIME_MASK;
	slot->skew += took;
	hist = bpf_map_lookup_elem(&vt_null, &key);
	if (hist)
		vt_observe(hist, took);
}

#endif
