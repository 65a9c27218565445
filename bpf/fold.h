/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The functions that a journey was in, told apart at its end. Its calls are
 * walked hop by hop with a stack: what a function took from its entry to its
 * return (or to the hop's end, when the packet went on from inside it), and what
 * of that was not in another probed function. Each step is a global function,
 * which the verifier looks at once per program.
 */
#ifndef VT_FOLD_H
#define VT_FOLD_H

#define VT_ROW_PROBES 16

static __always_inline __u64 vt_span(__u64 from, __u64 to)
{
	return (to - from) & VT_TIME_MASK;
}

/* Time of a stamp; 0 for one that there is not. */
static __always_inline __u64 vt_time_of(struct vt_slot *slot, __u32 at)
{
	if (at >= VT_STAMPS)
		return 0;
	barrier_var(at);
	if (at >= VT_STAMPS)
		return 0;
	return slot->stamp[at] & VT_TIME_MASK;
}

/* Fills a row that this CPU has just claimed. */
static __always_inline void vt_describe_row(struct vt_row *row, __u64 path, struct vt_calls *calls, __u32 function)
{
	row->path = path;
	row->hop = calls->hop;
	row->function = function;
	row->depth = calls->depth;
	row->blocks = 0;
	if (vt_take_block(&row->block[0])) {
		row->blocks = 1;
		if (vt_take_block(&row->block[1]))
			row->blocks = 2;
	}
	__sync_lock_test_and_set(&row->ready, 1);
}

/* Where the row of a function in this hop of this path is, made if this is its first call; -1: no room. */
static __always_inline int vt_find_row(struct vt_calls *calls, __u64 path, __u32 function)
{
	__u64 key = vt_mix(path, calls->hop, function);

	key ^= key >> 31;
	key = key ? key : 1;
#pragma clang loop unroll(disable)
	for (__u32 probe = 0; probe < VT_ROW_PROBES; probe++) {
		__u32 index = (key + probe) & cfg_row_mask;
		struct vt_row *row = bpf_map_lookup_elem(&vt_rows, &index);
		__u64 owner;

		if (!row)
			return -1;
		owner = VT_READ_ONCE(row->key);
		if (owner == key)
			return index;
		if (owner)
			continue;
		if (__sync_val_compare_and_swap(&row->key, 0, key) == 0) {
			vt_describe_row(row, path, calls, function);
			return index;
		}
		if (VT_READ_ONCE(row->key) == key)
			return index;
	}
	return -1;
}

/* Adds what a call took (inclusive, exclusive, since) to its row. */
__noinline int vt_observe_call(struct vt_calls *calls, __u64 path, __u32 function)
{
	struct vt_hist *inclusive, *exclusive;
	struct vt_row *row = NULL;
	__u32 index;
	int at;

	if (!calls)
		return 0;
	at = vt_find_row(calls, path, function);
	index = at;
	if (at >= 0)
		row = bpf_map_lookup_elem(&vt_rows, &index);
	if (!row || !VT_READ_ONCE(row->ready) || row->blocks != 2) {
		vt_note(calls_lost);
		return 0;
	}
	inclusive = vt_block(row->block[0]);
	exclusive = vt_block(row->block[1]);
	if (!inclusive || !exclusive)
		return 0;
	vt_observe(inclusive, calls->inclusive);
	vt_observe(exclusive, calls->exclusive);
	__sync_fetch_and_add(&row->since, calls->since);
	return 0;
}

/* A frame; masked where the verifier sees it, as the compiler drops what it knows to be true. */
static __always_inline struct vt_frame *vt_frame_of(struct vt_calls *calls, __u64 at)
{
	asm volatile("%0 &= %1" : "+r"(at) : "i"(VT_DEPTH - 1));
	return &calls->frame[at];
}
_Static_assert(!(VT_DEPTH & (VT_DEPTH - 1)), "a frame's number is masked");

/* The innermost function ends at `now`. */
VT_STEP int vt_close_call(struct vt_calls *calls, __u64 path, __u64 now)
{
	struct vt_frame *frame;
	__u32 at;

	if (!calls)
		return 0;
	at = calls->depth - 1;
	if (at >= VT_DEPTH)
		return 0;
	frame = vt_frame_of(calls, at);
	calls->inclusive = vt_span(frame->entered, now);
	calls->exclusive = calls->inclusive - frame->inside;
	calls->since = vt_span(calls->begin, frame->entered);
	calls->depth = at;
	vt_observe_call(calls, path, frame->function);
	if (at)
		vt_frame_of(calls, at - 1)->inside += calls->inclusive;
	else
		calls->inside += calls->inclusive;
	return 0;
}

/* The hop ends: functions that the packet went on from inside end with it. */
__noinline int vt_end_hop(struct vt_calls *calls, __u64 path, __u64 end)
{
	if (!calls)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < VT_DEPTH; i++) {
		if (!calls->depth)
			break;
		vt_close_call(calls, path, end);
	}
	calls->inclusive = vt_span(calls->begin, end);
	calls->exclusive = calls->inclusive - calls->inside;
	calls->since = 0;
	vt_observe_call(calls, path, 0);
	return 0;
}

/* In how many functions the packet was when this one was entered last; VT_DEPTH: it was not, in this hop. */
static __always_inline __u32 vt_entered_at(struct vt_calls *calls, __u32 function)
{
	/* a return does not tell the table */
	__u32 mask = function >= VT_FUNCTION_TABLES ? ~7U : ~0U, found = VT_DEPTH;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < VT_DEPTH; i++) {
		if (i >= calls->depth)
			break;
		if (!((vt_frame_of(calls, i)->function ^ function) & mask))
			found = i;
	}
	return found;
}

/* A function returns: those inside it that no return was seen of have returned too. */
static __always_inline void vt_close_until(struct vt_calls *calls, __u64 path, __u32 function, __u64 now)
{
	__u32 depth = vt_entered_at(calls, function);

#pragma clang loop unroll(disable)
	for (int i = 0; i < VT_DEPTH; i++) {
		if (calls->depth <= depth)
			break;
		vt_close_call(calls, path, now);
	}
}

/* The packet enters a function. False where there is no room for one more. */
static __always_inline bool vt_open_call(struct vt_calls *calls, __u32 function, __u64 now)
{
	__u32 at = calls->depth;
	struct vt_frame *frame;

	if (at >= VT_DEPTH)
		return false;
	frame = vt_frame_of(calls, at);
	frame->entered = now;
	frame->inside = 0;
	frame->function = function;
	calls->depth = at + 1;
	return true;
}

/* Goes on to the hop of a call. False for a call that does not lie in it: its journey's stamps were replaced. */
static __always_inline bool vt_enter_hop(struct vt_calls *calls, struct vt_slot *slot, __u64 call)
{
	__u32 hop = call >> 56;

	if (!hop || hop >= slot->stamps)
		return false;
	if (hop != calls->hop) {
		calls->hop = hop;
		calls->begin = calls->last = vt_time_of(slot, hop - 1);
		calls->inside = 0;
		calls->depth = 0;
	}
	return vt_span(calls->last, call) <= vt_span(calls->last, vt_time_of(slot, hop));
}

/* One call of a journey that has ended; the hop before it is done. */
__noinline int vt_fold_call(struct vt_calls *calls, struct vt_slot *slot, __u64 path, __u64 call)
{
	__u32 function = call >> 48 & 0xff;

	if (!calls || !slot)
		return 0;
	if (!vt_enter_hop(calls, slot, call)) {
		vt_note(calls_lost);
		return 0;
	}
	calls->last = call & VT_TIME_MASK;
	if (function & VT_RETURN)
		vt_close_until(calls, path, function & ~VT_RETURN, calls->last);
	else if (!vt_open_call(calls, function, calls->last))
		vt_note(calls_lost);
	return 0;
}

/* All calls of the journey in a slot, for one of its paths. */
__noinline int vt_fold(__u32 index, __u64 path)
{
	struct vt_calls *calls = bpf_map_lookup_elem(&vt_calls, &index);
	struct vt_found found = { .index = index };
	struct vt_slot *slot = vt_slot_of(found);

	if (!calls || !path || ((calls->owner ^ VT_READ_ONCE(*vt_owner_of(found))) & ~VT_STATE_MASK))
		return 0;
	calls->hop = 0;
	calls->depth = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < VT_CALLS; i++) {
		__u64 call;

		if (i >= calls->count)
			break;
		call = calls->call[i];
		if (calls->hop && call >> 56 != calls->hop)
			vt_end_hop(calls, path, vt_time_of(slot, calls->hop));
		vt_fold_call(calls, slot, path, call);
	}
	if (calls->hop)
		vt_end_hop(calls, path, vt_time_of(slot, calls->hop));
	return 0;
}

/* The same for both paths of a journey that has ended; 0 is none. */
static __always_inline void vt_fold_both(__u32 index, const __u64 path[2])
{
	if (!cfg_functions)
		return;
	vt_fold(index, path[0]);
	vt_fold(index, path[1]);
}

/* The calls of a journey that leaves the kernel whole, before its record. */
VT_COLD void vt_emit_calls(__u32 index, struct vt_slot *slot)
{
	struct vt_found found = { .index = index };
	struct vt_call_record *record;
	struct vt_calls *calls;

	if (!cfg_functions)
		return;
	calls = bpf_map_lookup_elem(&vt_calls, &index);
	if (!calls || ((calls->owner ^ VT_READ_ONCE(*vt_owner_of(found))) & ~VT_STATE_MASK))
		return;
	record = bpf_ringbuf_reserve(&vt_records, sizeof(*record), 0);
	if (!record) {
		vt_note(ring_lost);
		return;
	}
	record->start = slot->start;
	record->hash = slot->hash;
	record->count = calls->count;
	record->pad = 0;
	__builtin_memcpy(record->call, calls->call, sizeof(record->call));
	bpf_ringbuf_submit(record, 0);
}

#endif
