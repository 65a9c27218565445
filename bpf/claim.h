/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a packet that begins its journey gets a slot: the way of its set that a
 * former packet at its address had, a vacant one, or one whose journey is stale.
 */
#ifndef VT_CLAIM_H
#define VT_CLAIM_H

/* The way that the same skb had in a life that is not over for the table; -1: there is none. */
VT_COLD_GLOBAL int vt_former(__u32 first, __u64 key)
{
#pragma clang loop unroll(disable)
	for (int way = 0; way < VT_WAYS; way++) {
		__u64 owner = VT_READ_ONCE(vt_owners[(first + way) & (VT_SLOTS - 1)]);

		if (!((owner ^ key) & ~(VT_GENERATION_MASK | VT_STATE_MASK)) &&
		    (owner & VT_STATE_MASK) != VT_STATE_BUSY)
			return first + way;
	}
	return -1;
}

/* The first way where no journey is under way; -1: there is none. */
VT_COLD_GLOBAL int vt_vacant(__u32 first)
{
#pragma clang loop unroll(disable)
	for (int way = 0; way < VT_WAYS; way++) {
		__u64 state = VT_READ_ONCE(vt_owners[(first + way) & (VT_SLOTS - 1)]) & VT_STATE_MASK;

		if (state == VT_STATE_FREE || state == VT_STATE_ENDED)
			return first + way;
	}
	return -1;
}

/* A way of the set that a newcomer may take; index ~0: none. */
static __always_inline struct vt_found vt_room(__u64 key)
{
	__u32 first = vt_set(key) * VT_WAYS;
	struct vt_found room = { .index = first };
	__u64 same = 0, state;

	/* has any way this key? Without branches: as a rule none has, and all must be looked at */
#pragma unroll
	for (int way = 0; way < VT_WAYS; way++) {
		__u64 other = VT_READ_ONCE(vt_owners[(first + way) & (VT_SLOTS - 1)]) ^ key;

		same |= VT_IS_ZERO(other & ~(VT_GENERATION_MASK | VT_STATE_MASK));
	}
	room.owner = VT_READ_ONCE(vt_owners[first & (VT_SLOTS - 1)]);
	state = room.owner & VT_STATE_MASK;
	if (VT_LIKELY(!(same >> 63) && (state == VT_STATE_FREE || state == VT_STATE_ENDED)))
		return room;
	same >>= 63;
	room.index = same ? vt_former(first, key) : vt_vacant(first);
	if (room.index == ~0U)
		return room;
	/* it may have become somebody else's in between */
	room.owner = VT_READ_ONCE(*vt_owner_of(room));
	state = room.owner & VT_STATE_MASK;
	if (same ? ((room.owner ^ key) & ~(VT_GENERATION_MASK | VT_STATE_MASK)) || state == VT_STATE_BUSY :
		   state != VT_STATE_FREE && state != VT_STATE_ENDED)
		room.index = ~0U;
	return room;
}

/* The same where all ways are taken: one whose journey is stale. Rare, so it reads the clock for itself. */
VT_COLD_GLOBAL __u32 vt_stale(__u32 set)
{
	__u64 now = bpf_ktime_get_ns();

#pragma clang loop unroll(disable)
	for (int way = 0; way < VT_WAYS; way++) {
		struct vt_found here = { .index = set * VT_WAYS + way };

		if ((VT_READ_ONCE(*vt_owner_of(here)) & VT_STATE_MASK) == VT_STATE_LIVE &&
		    /* signed: it may have begun after the clock was read */
		    (__s64)(now - vt_slot_of(here)->start) > (__s64)VT_STALE_NS)
			return here.index;
	}
	return ~0U;
}

/* One try to claim a slot; found.owner is 0 when the set is full or another CPU was faster. */
static __always_inline struct vt_found vt_claim_once(__u64 key)
{
	struct vt_found room = vt_room(key), none = {};
	__u64 busy;

	if (room.index == ~0U) {
		room.index = vt_stale(vt_set(key));
		if (room.index == ~0U)
			return none;
		room.owner = VT_READ_ONCE(*vt_owner_of(room));
		/* another CPU may have found it stale too */
		if ((room.owner & VT_STATE_MASK) != VT_STATE_LIVE)
			return none;
	}
	busy = key | ((room.owner + 8) & VT_GENERATION_MASK) | VT_STATE_BUSY;
	if (__sync_val_compare_and_swap(vt_owner_of(room), room.owner, busy) != room.owner)
		return none;
	if ((room.owner & VT_STATE_MASK) == VT_STATE_LIVE)
		vt_vanished(room.index);
	room.owner = busy;
	return room;
}

/* More tries, where another CPU took the same way meanwhile; -1: none went well. */
VT_COLD_GLOBAL int vt_claim_again(__u64 key)
{
#pragma clang loop unroll(disable)
	for (int try = 0; try < 3; try++) {
		struct vt_found found = vt_claim_once(key);

		if (found.owner)
			return found.index;
	}
	return -1;
}

/*
 * Claims a slot for a packet that begins its journey; found.owner is 0 when the
 * set is full, which is counted by the caller. The slot is busy until
 * vt_begin() publishes it.
 */
static __always_inline struct vt_found vt_claim(__u64 key)
{
	struct vt_found found = vt_claim_once(key);
	int index;

	if (VT_LIKELY(found.owner))
		return found;
	index = vt_claim_again(key);
	if (index < 0)
		return found;
	/* busy, and so ours: nobody else writes it */
	found.index = index;
	found.owner = VT_READ_ONCE(*vt_owner_of(found));
	return found;
}

#endif
