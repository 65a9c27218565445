//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Programs that run the parts of the kernel side on their own, for tests: the
 * rule of the histograms, journeys of two CPUs that meet in one set, and what
 * the functions of a journey take.
 */
#include "../../vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "../compat.h"
#include "../journey.h"
#include "../config.h"
#include "../maps.h"
#include "../packet.h"
#include "../count.h"
#include "../slot.h"
#include "../record.h"
#include "../commit.h"

/* What to put into test_hist, and how much of it. Writer: Go. */
#define VT_VALUES 1024
__u64 test_values[VT_VALUES];
__u32 test_count;
/* Where it went. Writer: test_observe. */
struct vt_hist test_hist;

/* What happened in test_race. Writer: both CPUs. */
__u64 test_started, test_evicted, test_wrong, test_lost, test_completed;

static long observe(__u64 i, void *unused)
{
	vt_observe(&test_hist, test_values[i & (VT_VALUES - 1)]);
	return 0;
}

SEC("syscall")
int test_observe(void *ctx)
{
	bpf_loop(test_count, observe, NULL, 0);
	return 0;
}

#define VT_HELD 9 /* journeys of one CPU at a time: one more than a set has ways */

struct race {
	__u32 cpu;
	__u32 rounds;
};

static __always_inline __u64 race_key(__u32 cpu, __u32 round, __u32 i)
{
	/* keys come back, as addresses of packets do */
	return ((__u64)(cpu + 1) << 16 | (round % 5) << 8 | i) << 19;
}

/* Begins a journey; returns its slot, -1 where there is none. Global: verified once. */
__noinline int race_start(__u64 key)
{
	struct vt_found found = vt_claim(key);
	struct vt_slot *slot;

	__sync_fetch_and_add(&test_started, 1);
	if (!found.owner) {
		__sync_fetch_and_add(&test_evicted, 1);
		return -1;
	}
	slot = vt_slot_of(found);
	slot->ident = key;
	slot->hash = 0;
	slot->skew = 0;
	slot->stamps = 0;
	slot->flags = 0;
	slot->target[0] = 1;
	slot->target[1] = 0;
	slot->peer[0] = slot->peer[1] = 0;
	slot->protocol = VT_IPPROTO_UDP;
	slot->start = bpf_ktime_get_ns();
	vt_write(slot, found, VT_HOOK_UPLINK_INGRESS, 1, slot->start);
	vt_begin(&found);
	return found.index;
}

/* Ends it where it began. Global: verified once. */
__noinline int race_end(__u64 key, int started)
{
	struct vt_found found = vt_find(key, VT_STATE_LIVE);
	struct vt_slot *slot;

	if (started < 0) {
		/* what found no room must not find anybody else's */
		if (found.owner)
			__sync_fetch_and_add(&test_wrong, 1);
		return 0;
	}
	if (!found.owner) {
		__sync_fetch_and_add(&test_lost, 1);
		return 0;
	}
	slot = vt_slot_of(found);
	if (slot->ident != key || found.index != started)
		__sync_fetch_and_add(&test_wrong, 1);
	vt_write(slot, found, VT_HOOK_UPLINK_EGRESS, 1, bpf_ktime_get_ns());
	if (vt_complete(slot, found))
		__sync_fetch_and_add(&test_completed, 1);
	else
		__sync_fetch_and_add(&test_lost, 1);
	return 0;
}

static long race_round(__u64 round, struct race *race)
{
	int held[VT_HELD];
	__u32 cpu = race->cpu;

	for (int i = 0; i < VT_HELD; i++)
		held[i] = race_start(race_key(cpu, round, i));
	for (int i = 0; i < VT_HELD; i++)
		race_end(race_key(cpu, round, i), held[i]);
	return 0;
}

/* One CPU's share of journeys that come and go in the same set as another's. */
SEC("syscall")
int test_race(struct race *args)
{
	struct race race = { .cpu = args->cpu };

	bpf_loop(args->rounds, race_round, &race, 0);
	return 0;
}

/* A journey that has ended, and its calls. Writer: Go. */
__u64 test_stamp[VT_STAMPS];
__u64 test_call[VT_CALLS];
__u32 test_stamps, test_calls;

/* Tells the functions of that journey apart, for a path with key 7. */
SEC("syscall")
int test_fold(void *ctx)
{
	struct vt_found found = { .owner = 1 << 3 | VT_STATE_LIVE };
	struct vt_slot *slot = vt_slot_of(found);
	__u32 index = 0;
	struct vt_calls *calls = bpf_map_lookup_elem(&vt_calls, &index);

	if (!calls)
		return 1;
	slot->stamps = test_stamps;
	for (int i = 0; i < VT_STAMPS; i++)
		slot->stamp[i] = VT_STAMP(1, 1, test_stamp[i]);
	calls->owner = found.owner;
	calls->count = test_calls;
	__builtin_memcpy(calls->call, test_call, sizeof(test_call));
	*vt_owner_of(found) = (found.owner & ~VT_STATE_MASK) | VT_STATE_BUSY;
	vt_fold(0, 7);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
