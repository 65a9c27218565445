/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How the fallback object reads the kernel's memory: by a helper that all
 * kernels have, where the main one has plain loads. So an address is a number
 * here and never a pointer that the verifier knows.
 */
#ifndef VT_FALLBACK_H
#define VT_FALLBACK_H

#define VT_TCX_INGRESS "tc" /* a filter of clsact: which side, its attachment says */
#define VT_TCX_EGRESS "tc"
#define VT_TP "raw_tp/"
/* not programs here, but what those of fallback_netfilter.h call */
#define VT_NETFILTER static __always_inline __attribute__((unused))

/*
 * A hook's state and context as the programs of netfilter links have them, on
 * our own stack: a trampoline on nf_hook_slow fills it, and others that have
 * none of the kernel's.
 */
struct vt_nf_state {
	struct net *net;
	struct net_device *out;
	__u32 hook;
};
struct vt_nf_ctx {
	struct vt_nf_state *state;
	struct sk_buff *skb;
};
#define bpf_nf_ctx vt_nf_ctx
#define nf_hook_state vt_nf_state

/*
 * The first bytes at an address, little endian as both architectures are; 0
 * where nothing is mapped. Global: verified once per program.
 */
__noinline __u64 vt_peek(__u64 address, __u32 size)
{
	__u64 value[2] = {};

	asm volatile("%0 &= 15" : "+r"(size)); /* it is 8 at most, which the verifier does not know */
	bpf_probe_read_kernel(value, size, (void *)address);
	return value[0];
}

#define vt_cast(TYPE, address) ((TYPE *)(address))
#define vt_get(pointer, member) \
	((typeof((pointer)->member))vt_peek((__u64) & (pointer)->member, sizeof((pointer)->member)))
#define vt_byte(address) ((__u8)vt_peek((__u64)(address), 1))
#define VT_BITFIELD(pointer, member) BPF_CORE_READ_BITFIELD_PROBED(pointer, member)
#define vt_packet_of(ctx) ((struct sk_buff *)vt_plain(ctx))
#define vt_current_task() ((struct task_struct *)bpf_get_current_task())
/* Before Linux 6.3 not into memory that a global function was given. */
#define vt_pop(queue, to)                                     \
	({                                                    \
		typeof(*(to)) taken = 0;                      \
		long error = bpf_map_pop_elem(queue, &taken); \
		*(to) = taken;                                \
		error;                                        \
	})
/* Not inline: the frame of a program that ends journeys of several kinds would be too large. */
#define vt_finish(slot, found) vt_complete_rarely((found).index, (found).owner)
/* Inline: with vt_peek() below it the line would need more stack than there is. */
#define VT_STEP static __always_inline
#define VT_COLD_STEP static __always_inline
/*
 * Without a branch between them: the compiler would let a loop be entered in its
 * middle, which older verifiers take for an endless one ("back-edge", seen on 6.1).
 */
#define VT_BOTH(a, b) (((a) & (b)) != 0)

/* Of as many as there are: fewer where a map may not be as large (bpf/shrink.go). */
#define VT_SLOT_BOUND(index) asm volatile("%0 &= %1" : "+r"(index) : "r"(cfg_set_mask * VT_WAYS + VT_WAYS - 1))

extern __u64 vt_base[8]; /* maps.h */

/* Where vt_base is. Writer and reader: each program, always the same value. */
__u64 vt_base_at SEC(".data.base");

/* The address of vt_base as a number: a privileged program may store a pointer, and what it loads is none. */
static __always_inline __u64 vt_base_address(void)
{
	volatile __u64 *at = &vt_base_at;

	*at = (__u64)vt_base;
	return *at;
}

/* A pointer that the verifier knows, as a number. */
static __always_inline __u64 vt_plain(const void *pointer)
{
	__u64 number = (__u64)pointer;
	void *base = vt_base;

	asm volatile("%0 -= %1" : "+r"(number) : "r"(base));
	return number + vt_base_address();
}

/* The same number for a pointer as in the main object, whose slots and sockets are these. */
static __always_inline __u64 vt_number(const void *pointer)
{
	return (__u64)pointer - vt_base_address();
}

/* Linux 5.18 to 6.10: one bit, where later ones tell which clock it is. */
struct sk_buff___mono {
	__u8 mono_delivery_time : 1;
} __attribute__((preserve_access_index));

/* When this kernel's TCP sent the packet; 0 where that is not known (before Linux 5.18 never). */
static __always_inline __u64 vt_birth(struct sk_buff *skb)
{
	if (bpf_core_field_exists(skb->tstamp_type)) {
		if (VT_BITFIELD(skb, tstamp_type) != VT_TSTAMP_MONOTONIC)
			return 0;
	} else {
		struct sk_buff___mono *old = (void *)skb;

		if (!bpf_core_field_exists(old->mono_delivery_time) || !VT_BITFIELD(old, mono_delivery_time))
			return 0;
	}
	return vt_get(skb, tstamp);
}

#endif
