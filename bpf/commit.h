/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end of a journey: its hops go into the histograms of its path. */
#ifndef VT_COMMIT_H
#define VT_COMMIT_H

#define VT_PATH_PROBES 16

/* What identifies a path: the hooks passed in order, and whose and what it is. Never 0. */
static __always_inline __u64 vt_path_key(struct vt_slot *slot, __u32 direction)
{
	__u64 who = (__u64)slot->target[direction] << 48 | (__u64)slot->peer[direction] << 32 |
		    (__u64)slot->protocol << 24 | (__u64)(slot->flags & (VT_FLAG_NEW | VT_FLAG_IPV6)) << 16 |
		    direction << 8 | slot->stamps;
	__u64 key = (slot->hash ^ who) * 0xbf58476d1ce4e5b9ULL;

	key ^= key >> 31;
	return key ? key : 1;
}

/* A histogram that no path has; false when there is none. */
static __always_inline bool vt_take_block(__u32 *block)
{
	if (VT_READ_ONCE(vt_next_block) < cfg_blocks) {
		*block = __sync_fetch_and_add(&vt_next_block, 1);
		if (*block < cfg_blocks)
			return true;
	}
	return vt_pop(&vt_free, block) == 0;
}

/* Fills a path that this CPU has just claimed: once per path, not per packet. Global: verified once per program. */
__noinline int vt_describe(struct vt_path *path, struct vt_slot *slot, __u32 direction)
{
	__u32 count;

	if (!path || !slot)
		return 0;
	count = slot->stamps;
	path->target = slot->target[direction & 1];
	path->peer = slot->peer[direction & 1];
	path->direction = direction;
	path->protocol = slot->protocol;
	path->flags = slot->flags & (VT_FLAG_NEW | VT_FLAG_IPV6);
	path->stamps = count;
	path->blocks = 0;
	for (__u32 i = 0; i < VT_STAMPS; i++) {
		if (i >= count)
			break;
		path->hook[i] = slot->stamp[i] >> 48;
		path->ifindex[i] = slot->ifindex[i];
		/* a path that does not get all of its blocks is counted, not measured */
		if (!vt_take_block(&path->block[i]))
			break;
		path->blocks = i + 1;
	}
	__sync_lock_test_and_set(&path->ready, 1);
	return 0;
}

/*
 * Where the path of a journey is, made if this is its first; -1 when the table
 * is full or another CPU is making it.
 */
VT_COLD_GLOBAL int vt_search_path(__u32 slot_index, __u32 direction, __u64 key)
{
	struct vt_found found = { .index = slot_index };
	struct vt_slot *slot = vt_slot_of(found);

#pragma clang loop unroll(disable)
	for (__u32 probe = 0; probe < VT_PATH_PROBES; probe++) {
		__u32 index = (key + probe) & cfg_path_mask;
		struct vt_path *path = bpf_map_lookup_elem(&vt_paths, &index);
		__u64 owner;

		if (!path)
			return -1;
		owner = VT_READ_ONCE(path->key);
		if (owner == key)
			return index;
		if (owner)
			continue;
		if (__sync_val_compare_and_swap(&path->key, 0, key) == 0) {
			vt_describe(path, slot, direction);
			return index;
		}
		if (VT_READ_ONCE(path->key) == key)
			return index;
	}
	return -1;
}

/* The path of a journey, or NULL. */
static __always_inline struct vt_path *vt_find_path(__u32 slot_index, __u32 direction, __u64 key)
{
	__u32 index = key & cfg_path_mask;
	struct vt_path *path = bpf_map_lookup_elem(&vt_paths, &index);
	int at;

	/* nearly all are where they belong: no call for them */
	if (VT_LIKELY(path && VT_READ_ONCE(path->key) == key))
		return path;
	at = vt_search_path(slot_index, direction, key);
	if (at < 0)
		return NULL;
	index = at;
	return bpf_map_lookup_elem(&vt_paths, &index);
}

static __always_inline struct vt_hist *vt_block(__u32 block)
{
	__u32 key = block * (cfg_shard_mask + 1) + vt_shard();

	return bpf_map_lookup_elem(&vt_hists, &key);
}

/* One histogram per hop, the first one for the whole. Returns false when the journey could not be recorded. */
static __always_inline bool vt_observe_path(struct vt_path *path, struct vt_slot *slot, __u8 generation)
{
	__u32 count = slot->stamps;
	__u64 first = slot->stamp[0], previous = first;
	struct vt_hist *hist;

	if (!VT_READ_ONCE(path->ready) || path->blocks != count || path->stamps != count)
		return false;
	if ((__u8)(first >> 56) != generation)
		return false;
	for (__u32 i = 1; i < VT_STAMPS; i++) {
		__u64 stamp;

		if (i >= count)
			break;
		stamp = slot->stamp[i];
		if ((__u8)(stamp >> 56) != generation) {
			vt_note(torn);
			return false;
		}
		hist = vt_block(path->block[i]);
		if (hist)
			vt_observe(hist, (stamp - previous) & VT_TIME_MASK);
		previous = stamp;
	}
	hist = vt_block(path->block[0]);
	if (!hist)
		return false;
	vt_observe(hist, (previous - first) & VT_TIME_MASK);
	if (cfg_shared_shards) {
		__sync_fetch_and_add(&hist->bytes, slot->length);
		__sync_fetch_and_add(&hist->segments, slot->segments);
	} else {
		hist->bytes += slot->length;
		hist->segments += slot->segments;
	}
	return true;
}

/*
 * Counts and measures a journey that is complete, for one of its two targets.
 * Returns the key of its path, 0 for none.
 */
static __always_inline __u64 vt_commit(__u32 index, __u32 direction, __u32 generation)
{
	struct vt_found found = { .index = index };
	struct vt_slot *slot = vt_slot_of(found);
	struct vt_path *path;
	__u16 target;
	__u64 key;

	direction &= 1;
	barrier_var(direction);
	if (direction > 1)
		return 0;
	target = slot->target[direction];
	if (!target)
		return 0;
	vt_count_softirq(target, direction, completed, 1);
	key = vt_path_key(slot, direction);
	path = (slot->flags & VT_FLAG_TRUNCATED) ? NULL : vt_find_path(index, direction, key);
	if (!path || !vt_observe_path(path, slot, generation)) {
		vt_count(target, direction, unpathed, 1);
		return 0;
	}
	return key;
}

/* The same for the second target of a journey between two. Global: the verifier looks at it once per program. */
__noinline __u64 vt_commit_second(__u32 index, __u32 generation)
{
	return vt_commit(index, VT_EGRESS, generation);
}

#include "fold.h"

/* Ends a journey as completed. False when another end was faster. */
static __always_inline bool vt_complete(struct vt_slot *slot, struct vt_found found)
{
	__u8 generation = vt_generation(found.owner);
	__u64 key[2];
	__u32 first;

	if (vt_oracle_forgets())
		return false;
	if (!vt_seize(found)) {
		vt_note(raced);
		return false;
	}
	/* as a rule it has one target: no call for that one */
	first = !slot->target[VT_INGRESS];
	key[first] = vt_commit(found.index, first, generation);
	key[!first] = !first && slot->target[VT_EGRESS] ? vt_commit_second(found.index, generation) : 0;
	if (cfg_whole) {
		__u32 last = (slot->stamps - 1) & 63;
		__u32 flags = last < VT_STAMPS ? vt_wanted((slot->stamp[last] - slot->stamp[0]) & VT_TIME_MASK) : ~0U;

		vt_fold_both(found.index, key);
		if (flags != ~0U) {
			vt_emit_calls(found.index, slot);
			vt_emit(slot, key, flags, 0);
		}
	}
	vt_release(found);
	return true;
}

/* The same where few journeys end. Global: the verifier looks at it once per program. */
__noinline int vt_complete_rarely(__u32 index, __u64 owner)
{
	struct vt_found found = { .index = index, .owner = owner };

	return vt_complete(vt_slot_of(found), found);
}

#endif
