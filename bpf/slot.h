/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A journey's life in the table. One packet is handled by one CPU at a time, so
 * a live slot has one writer; what can go wrong is that the packet is gone, its
 * address is used again, or the slot was taken from a packet that stood still
 * for a second. Identity catches the first two, the generation the third.
 */
#ifndef VT_SLOT_H
#define VT_SLOT_H

#define VT_STATE_MASK 7ULL
#define VT_GENERATION_MASK (0xffffULL << 3)

static __always_inline __u32 vt_set(__u64 key)
{
	/* multiplicative hash: the upper bits of the product depend on all of the key's */
	return (key * 0x9e3779b97f4a7c15ULL) >> (64 - 10) & cfg_set_mask;
}
_Static_assert(VT_SETS == 1 << 10, "vt_set yields 10 bits");

static __always_inline __u8 vt_generation(__u64 owner)
{
	return owner >> 3;
}

/* What a hook holds of a journey. */
struct vt_found {
	__u32 index;
	__u64 owner; /* word as it was found; 0 when nothing was */
};

/*
 * Its top bit is set where x is 0, for x whose lowest bit does not matter. A
 * comparison would be a branch.
 */
#define VT_IS_ZERO(x) (((x) >> 1) - 1)

/* Where `key` is in `state`, or -1. A global function: the verifier follows its eight ways once. */
__noinline int vt_search(__u64 key, __u64 state)
{
	__u32 first = vt_set(key) * VT_WAYS;

#pragma clang loop unroll(disable)
	for (int way = 0; way < VT_WAYS; way++) {
		__u64 owner = VT_READ_ONCE(vt_owners[(first + way) & (VT_SLOTS - 1)]);

		if (((owner ^ key) & ~VT_GENERATION_MASK) == state)
			return first + way;
	}
	return -1;
}

/* The slot where `key` is in `state`; its owner word is 0 when there is none. */
static __always_inline struct vt_found vt_find(__u64 key, __u64 state)
{
	struct vt_found found = {};
	int index = vt_set(key) * VT_WAYS;
	__u64 any = 0;

	/* a set is filled from its first way on: there most are found */
	found.owner = VT_READ_ONCE(vt_owners[index & (VT_SLOTS - 1)]);
	if (VT_LIKELY(((found.owner ^ key) & ~VT_GENERATION_MASK) == state)) {
		found.index = index;
		return found;
	}
	found.owner = 0;
	/* most packets of the machine are in no slot: one branch and no call tells */
#pragma unroll
	for (int way = 1; way < VT_WAYS; way++) {
		__u64 owner = VT_READ_ONCE(vt_owners[(index + way) & (VT_SLOTS - 1)]);

		any |= VT_IS_ZERO((owner ^ key ^ state) & ~VT_GENERATION_MASK);
	}
	if (VT_LIKELY(!(any >> 63)))
		return found;
	index = vt_search(key, state);
	if (index < 0)
		return found;
	found.index = index;
	found.owner = VT_READ_ONCE(vt_owners[index & (VT_SLOTS - 1)]);
	/* it may have been taken in between, where two CPUs share the slot */
	if (((found.owner ^ key) & ~VT_GENERATION_MASK) != state)
		found.owner = 0;
	return found;
}

static __always_inline struct vt_slot *vt_slot_of(struct vt_found found)
{
	__u32 index = found.index;

	/* once more, where the verifier sees it: a spilled register loses its bounds */
	VT_SLOT_BOUND(index);
	return &vt_slots[index];
}

static __always_inline __u64 *vt_owner_of(struct vt_found found)
{
	__u32 index = found.index;

	asm volatile("%0 &= %1" : "+r"(index) : "i"(VT_SLOTS - 1));
	return &vt_owners[index];
}

/* Takes the slot out of `found.owner`'s hands; false when somebody was faster. */
static __always_inline bool vt_seize(struct vt_found found)
{
	__u64 busy = (found.owner & ~VT_STATE_MASK) | VT_STATE_BUSY;

	return __sync_val_compare_and_swap(vt_owner_of(found), found.owner, busy) == found.owner;
}

static __always_inline void vt_release(struct vt_found found)
{
	vt_publish(vt_owner_of(found), (found.owner & ~VT_STATE_MASK) | VT_STATE_ENDED);
}

/* What vt_global::last_ended says of a slot that has just ended, beside its netns. */
static __always_inline __u32 vt_ended(struct vt_found found)
{
	return (found.owner & VT_GENERATION_MASK) << 13 | (found.index + 1);
}
_Static_assert(VT_SLOTS < 1 << 16 && VT_GENERATION_MASK << 13 == 0xffffULL << 16,
	       "slot and generation lie side by side");

/* The same where the packet is no more, or none of a target's: nothing that follows is told of it. */
static __always_inline void vt_vacate(struct vt_found found)
{
	vt_publish(vt_owner_of(found), (found.owner & ~VT_STATE_MASK) | VT_STATE_FREE);
}

/*
 * Counts a journey whose packet vanished without an event of its own. Behind
 * napi_gro_receive a packet may have become part of another one, which no
 * tracepoint tells: that is what its last stamp says. Rare, so not inlined.
 */
VT_COLD_GLOBAL int vt_vanished(__u32 index)
{
	struct vt_found found = { .index = index };
	struct vt_slot *slot = vt_slot_of(found);
	__u32 last = slot->stamps - 1;
	bool merged = false;

	if (last < VT_STAMPS) {
		barrier_var(last);
		if (last < VT_STAMPS)
			merged = (__u8)(slot->stamp[last] >> 48) == VT_HOOK_GRO_RECEIVE;
	}
	merged |= !!(slot->flags &
		     VT_FLAG_FRAGMENT); /* others of its packet were not seen, or it would have been found */
	for (int direction = 0; direction < 2; direction++) {
		if (merged)
			vt_count(slot->target[direction], direction, merged, 1);
		else
			vt_count(slot->target[direction], direction, expired, 1);
	}
	return 0;
}

/* Closes the slot of a packet that has gone, and whose address is used by another one. */
VT_COLD_GLOBAL int vt_close_stale(__u32 index, __u64 owner)
{
	struct vt_found found = { .index = index, .owner = owner };

	vt_note(mismatched);
	if (vt_seize(found)) {
		vt_vanished(index);
		vt_vacate(found);
	}
	return 0;
}

#include "claim.h"
#include "check.h"

/* The owner word of a journey under way. */
static __always_inline void vt_begin(struct vt_found *found)
{
	found->owner = (found->owner & ~VT_STATE_MASK) | VT_STATE_LIVE;
	vt_publish(vt_owner_of(*found), found->owner);
}

/* Did the slot hold this packet? Behind LOCAL_IN the kernel clears the birth stamp (skb_clear_delivery_time). */
static __always_inline bool vt_held(struct vt_slot *slot, struct sk_buff *skb)
{
	return slot->ident == vt_ident(skb, slot->flags & VT_FLAG_IPV6, slot->protocol);
}

/*
 * Does the slot hold this very packet? Two packets never have the address of
 * their skb and the nanosecond of their sending in common; where the kernel has
 * cleared that, or never knew it, their words tell.
 */
static __always_inline bool vt_same(struct vt_slot *slot, struct sk_buff *skb)
{
	__u64 birth = slot->birth, stamp = vt_get(skb, tstamp);

	if (oracle_blind)
		return true;
	if (VT_LIKELY(birth)) {
		if (VT_LIKELY(stamp == birth))
			return true;
		if (stamp)
			return false;
	}
	return vt_held(slot, skb);
}

#include "change.h"

/*
 * The journey of a packet, or NULL. A slot that holds another packet at the
 * same address is closed: its own packet has vanished.
 */
static __always_inline struct vt_slot *vt_journey(struct sk_buff *skb, struct vt_found *found)
{
	struct vt_slot *slot;
	struct vt_look look;

	*found = vt_find(vt_key(skb), VT_STATE_LIVE);
	if (!found->owner)
		return NULL;
	slot = vt_slot_of(*found);
	if (VT_LIKELY(vt_same(slot, skb))) {
		vt_oracle_met(skb, found->index);
		return slot;
	}
	vt_look_at(skb, &look);
	if (vt_changed(&look, found->index))
		return slot;
	vt_close_stale(found->index, found->owner);
	return NULL;
}

/* Mixes a hook and its device into the history of a journey. */
static __always_inline __u64 vt_mix(__u64 hash, __u32 hook, __u32 ifindex)
{
	return (hash ^ ((__u64)hook << 32 | ifindex)) * 0x9e3779b97f4a7c15ULL + 1;
}

/* Writes one stamp. `now` was read after the packet had been recognised. */
static __always_inline void vt_write(struct vt_slot *slot, struct vt_found found, __u32 hook, __u32 ifindex,
				     __u64 now)
{
	__u32 at = slot->stamps;

	if (at >= VT_STAMPS) {
		slot->flags |= VT_FLAG_TRUNCATED;
		return;
	}
	barrier_var(at);
	if (at >= VT_STAMPS)
		return;
	slot->stamp[at] = VT_STAMP(vt_generation(found.owner), hook, now - slot->skew);
	slot->ifindex[at] = ifindex;
	if (cfg_whole)
		slot->cpu[at] = bpf_get_smp_processor_id();
	slot->hash = vt_mix(slot->hash, hook, ifindex);
	slot->stamps = at + 1;
}

/* A hook in the middle of a journey. Returns the journey, or NULL. */
static __always_inline struct vt_slot *vt_pass(struct sk_buff *skb, struct vt_found *found, __u32 hook, __u32 ifindex)
{
	struct vt_slot *slot = vt_journey(skb, found);

	if (slot)
		vt_write(slot, *found, hook, ifindex, bpf_ktime_get_ns());
	return slot;
}

#endif
