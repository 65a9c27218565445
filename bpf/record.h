/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whole journeys that leave the kernel: the slow ones and a sample. */
#ifndef VT_RECORD_H
#define VT_RECORD_H

/* Is this journey wanted whole? Returns the flags of its record, ~0U if not. */
static __always_inline __u32 vt_wanted(__u64 total)
{
	struct vt_global *global;

	if (cfg_slow_ns && total >= cfg_slow_ns)
		return VT_FLAG_SLOW;
	if (!cfg_sample)
		return ~0U;
	global = vt_global_of();
	if (!global)
		return ~0U;
	if (++global->sampled < cfg_sample)
		return ~0U;
	global->sampled = 0;
	return 0;
}

VT_COLD void vt_emit(struct vt_slot *slot, const __u64 key[2], __u32 flags, __u32 reason)
{
	struct vt_record *record = bpf_ringbuf_reserve(&vt_records, sizeof(*record), 0);

	if (!record) {
		vt_note(ring_lost);
		return;
	}
	record->start = slot->start;
	record->hash = slot->hash;
	record->key[0] = key[0];
	record->key[1] = key[1];
	record->length = slot->length;
	record->reason = reason;
	record->target[0] = slot->target[0];
	record->target[1] = slot->target[1];
	record->peer[0] = slot->peer[0];
	record->peer[1] = slot->peer[1];
	record->stamps = slot->stamps;
	record->protocol = slot->protocol;
	record->flags = slot->flags | flags;
	for (int i = 0; i < 5; i++)
		record->pad[i] = 0;
	__builtin_memcpy(record->stamp, slot->stamp, sizeof(record->stamp));
	__builtin_memcpy(record->ifindex, slot->ifindex, sizeof(record->ifindex));
	__builtin_memcpy(record->cpu, slot->cpu, sizeof(record->cpu));
	bpf_ringbuf_submit(record, 0);
}

#endif
