/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the compiler, the libraries' headers or a trimmed vmlinux.h leave out. */
#ifndef VT_COMPAT_H
#define VT_COMPAT_H

#define VT_TCX_NEXT (-1) /* enum tcx_action_base: TCX_NEXT, go on with the next program */
#define VT_NF_ACCEPT 1 /* uapi/linux/netfilter.h: NF_ACCEPT */

/* uapi/linux/netfilter.h: enum nf_inet_hooks */
#define VT_NF_PRE_ROUTING 0
#define VT_NF_LOCAL_IN 1
#define VT_NF_FORWARD 2
#define VT_NF_LOCAL_OUT 3
#define VT_NF_POST_ROUTING 4

#define VT_NFPROTO_IPV4 2
#define VT_NFPROTO_IPV6 10

#define VT_ETH_P_IP 0x0800
#define VT_ETH_P_IPV6 0x86dd

#define VT_IPPROTO_ICMP 1
#define VT_IPPROTO_TCP 6
#define VT_IPPROTO_UDP 17
#define VT_IPPROTO_FRAGMENT 44
#define VT_IPPROTO_ICMPV6 58

/* net/ip.h, net/ipv6.h: offset and "more fragments", of host byte order */
#define VT_IP_OFFSET 0x1fff
#define VT_IP_MORE 0x2000
#define VT_IPV6_OFFSET 0xfff8
#define VT_IPV6_MORE 1

/* net/gro.h: enum gro_result */
#define VT_GRO_MERGED_FREE 1

/* uapi/linux/if_packet.h: skb->pkt_type */
#define VT_PACKET_MULTICAST 2

/* linux/skbuff.h: skb->fclone of the copy that TCP sends of each packet */
#define VT_FCLONE_CLONE 2

/* linux/net_namespace.h, net/tcp_states.h */
#define VT_TCP_ESTABLISHED 1
#define VT_TCP_SYN_SENT 2
#define VT_TCP_CLOSE 7
#define VT_TCP_LISTEN 10
#define VT_TCP_NEW_SYN_RECV 12

/* nf_conntrack_common.h: the low bits of skb->_nfct are enum ip_conntrack_info, the rest points to the entry */
#define VT_NFCT_INFO 7UL
#define VT_CT_NEW 2
#define VT_CT_CONFIRMED (1UL << 3) /* IPS_CONFIRMED */

/* include/linux/skbuff.h since 5.18: skb->tstamp_type, 1 when tstamp is the monotonic time of sending */
#define VT_TSTAMP_MONOTONIC 1

/* How programs reach a hook and read the kernel's memory: by what the newest kernels have, or what older ones have too. */
#ifdef VT_FALLBACK
#include "fallback.h"
#else
#define VT_TCX_INGRESS "tcx/ingress"
#define VT_TCX_EGRESS "tcx/egress"
#define VT_TP "tp_btf/"
#define VT_NETFILTER SEC("netfilter")

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

/* A read-only view of any address as TYPE: plain loads that yield 0 where nothing is mapped (Linux 6.2). */
#define vt_cast(TYPE, address) ((TYPE *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(TYPE)))
/* A member of a struct of the kernel's, and the byte at an address that vt_cast() gave. */
#define vt_get(pointer, member) ((pointer)->member)
#define vt_byte(address) (*(__u8 *)(address))
#define VT_BITFIELD(pointer, member) BPF_CORE_READ_BITFIELD(pointer, member)
#define vt_packet_of(ctx) bpf_cast_to_kern_ctx(ctx)
#define vt_current_task() bpf_get_current_task_btf()
/* Takes an element out of a queue. */
#define vt_pop(queue, to) bpf_map_pop_elem(queue, to)
/* Ends a journey where others may end too. */
#define vt_finish(slot, found) vt_complete(slot, found)
/* A global function in the longest line of calls that there is. */
#define VT_STEP __noinline
/* A function that few packets need, there too. */
#define VT_COLD_STEP VT_COLD
/* Both conditions of a loop's exit. */
#define VT_BOTH(a, b) ((a) && (b))
/* Keeps an index within the slots. */
#define VT_SLOT_BOUND(index) asm volatile("%0 &= %1" : "+r"(index) : "i"(VT_SLOTS - 1))
#endif

/*
 * What few packets need is a function of its own: the way of all others stays
 * short, and fits into the processor's instruction cache beside the kernel's.
 */
#define VT_COLD static __noinline __attribute__((unused))
/*
 * The same for what takes and returns numbers only: a global function, which
 * the verifier looks at once per program instead of once per call.
 */
#define VT_COLD_GLOBAL __noinline

#define VT_LIKELY(x) __builtin_expect(!!(x), 1)
#define VT_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define VT_READ_ONCE(x) (*(volatile typeof(x) *)&(x))

/*
 * Publishes a word after what it guards was written. Stores stay in order on
 * x86; elsewhere only an atomic exchange is a barrier to every BPF JIT.
 */
static __always_inline void vt_publish(__u64 *word, __u64 value)
{
	barrier();
#if defined(__TARGET_ARCH_x86)
	*(volatile __u64 *)word = value;
#else
	__sync_lock_test_and_set(word, value);
#endif
}

#endif
