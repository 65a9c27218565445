/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counters: whose they are and how a program adds to them. */
#ifndef VT_COUNT_H
#define VT_COUNT_H

static __always_inline __u32 vt_shard(void)
{
	return bpf_get_smp_processor_id() & cfg_shard_mask;
}

/* The account of target number `target`; NULL if Go made no room for it. */
static __always_inline struct vt_account *vt_account_of(__u32 target, __u32 direction)
{
	__u32 key = (target * 2 + direction) * (cfg_shard_mask + 1) + vt_shard();

	return bpf_map_lookup_elem(&vt_accounts, &key);
}

/*
 * Adds to a counter of a target. `target` is the number plus 1, as slots keep
 * it; 0 counts nothing. Where a softirq can come between load and store (in
 * process context: LOCAL_OUT, drops), or where CPUs share a copy, the addition
 * has to be atomic; programs that run with softirqs off may do without.
 */
#define vt_count(target, direction, field, by)                                                         \
	({                                                                                             \
		struct vt_account *account = (target) ? vt_account_of((target) - 1, direction) : NULL; \
		if (account)                                                                           \
			__sync_fetch_and_add(&account->field, by);                                     \
	})
#define vt_count_softirq(target, direction, field, by)                                                 \
	({                                                                                             \
		struct vt_account *account = (target) ? vt_account_of((target) - 1, direction) : NULL; \
		if (account && cfg_shared_shards)                                                      \
			__sync_fetch_and_add(&account->field, by);                                     \
		else if (account)                                                                      \
			account->field += by;                                                          \
	})

static __always_inline struct vt_global *vt_global_of(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&vt_globals, &key);
}

/* Counters of a CPU that only say how much: a lost addition is no error. */
#define vt_note(field)                                     \
	({                                                 \
		struct vt_global *global = vt_global_of(); \
		if (global)                                \
			global->field++;                   \
	})

/* 1 where value > limit, both below 2^63. */
#define VT_ABOVE(value, limit)                  \
	({                                      \
		__u64 sign = (limit) - (value); \
		barrier_var(sign);              \
		sign >> 63;                     \
	})

/* floor(log2) of 1 to 255. */
static const __u8 vt_log2[256] = {
	0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5,
	5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
	6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
	6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
};

/*
 * The bucket of a value, by the rule of tracer/histogram: up to 31 by itself,
 * then 16 per power of two; VT_BUCKETS for 2^31 and more. Global, so that the
 * verifier follows its branches once per program.
 */
VT_COLD_GLOBAL int vt_bucket_of_any(__u64 ns)
{
	__u64 value = ns, high, step;

	if (ns < 32)
		return ns;
	if (ns >> 31)
		return VT_BUCKETS;
	/* floor(log2) without a branch, which the verifier would follow both ways */
	high = VT_ABOVE(value, 0xffffULL) << 4;
	value >>= high;
	step = VT_ABOVE(value, 0xffULL) << 3;
	value >>= step;
	high += step;
	step = VT_ABOVE(value, 0xfULL) << 2;
	value >>= step;
	high += step;
	step = VT_ABOVE(value, 0x3ULL) << 1;
	value >>= step;
	high += step + (value >> 1);
	return 32 + (high - 5) * 16 + ((ns >> (high - 4)) & 15);
}

/* The same; no call for 32 ns to 8 us, which is as good as all hops. */
static __always_inline __u32 vt_bucket(__u64 ns)
{
	__u64 above = ns - 32; /* what the verifier of older kernels knows the bounds of (seen on 6.12) */
	__u32 log;

	if (VT_UNLIKELY(above >= 8192 - 32))
		return vt_bucket_of_any(ns);
	log = vt_log2[(above >> 5) + 1];
	return 32 + log * 16 + ((ns >> (log + 1)) & 15);
}

/*
 * Adds one value to a histogram. Ends run with softirqs off, so a shard that
 * belongs to one CPU has one writer; shards that CPUs share need atomics.
 */
static __always_inline void vt_observe(struct vt_hist *hist, __u64 ns)
{
	__u32 index;
	__u64 max;

	index = vt_bucket(ns);
	barrier_var(index); /* the compiler knows that it is no larger, the verifier does not */
	if (index > VT_BUCKETS)
		return;
	/* bucket VT_BUCKETS is `overflow`, which lies right behind them */
	if (cfg_shared_shards) {
		__sync_fetch_and_add(&hist->bucket[index], 1);
		__sync_fetch_and_add(&hist->sum, ns);
	} else {
		hist->bucket[index]++;
		hist->sum += ns;
	}
	/* without a branch; a larger maximum of another CPU may be lost where shards are shared: then by one value */
	max = VT_READ_ONCE(hist->max);
	hist->max = max ^ ((max ^ ns) & -VT_ABOVE(ns, max));
}

#endif
