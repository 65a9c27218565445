//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs of the lab: a delay of known length at a chosen hook, and a device that
 * clears the birth stamp. Self-contained: the few kernel types and helpers used are
 * declared in lab.h.
 */
#include "lab.h"

/*
 * Knobs, written by Go while the programs run, and results, read by Go. One copy per
 * loaded collection, that is per injector. Times in nanoseconds.
 */
volatile __u64 delay_ns; /* 0 switches the delay off */
volatile __u64 protocol; /* delay only packets of this IP protocol; 0 means every packet */
volatile __u64 delayed; /* packets delayed */
volatile __u64 delayed_ns; /* what they really waited, summed */
volatile __u64 seen; /* packets that matched, delayed or not */
volatile __u64 stamped; /* of those, with a birth stamp (skb->tstamp) */

struct wait {
	__u64 start;
	__u64 until;
	__u64 now;
};

static long tick(__u32 i, struct wait *w)
{
	w->now = bpf_ktime_get_ns();
	return w->now >= w->until; /* 1 ends the loop */
}

/* More turns than the longest delay can take: a turn reads the clock, 20 ns at least. */
#define MAX_TURNS (1 << 23)

static __always_inline void spin(__u64 tstamp)
{
	struct wait w = {};

	__sync_fetch_and_add(&seen, 1);
	if (tstamp)
		__sync_fetch_and_add(&stamped, 1);
	if (!delay_ns)
		return;
	w.start = bpf_ktime_get_ns();
	w.until = w.start + delay_ns;
	bpf_loop(MAX_TURNS, tick, &w, 0);
	__sync_fetch_and_add(&delayed, 1);
	__sync_fetch_and_add(&delayed_ns, w.now - w.start);
}

/* The IPv6 next header is taken as it stands: packets with extension headers match as these. */
static __always_inline bool wanted(__u8 version, __u8 v4, __u8 v6)
{
	if (!protocol)
		return true;
	return protocol == (version >> 4 == 4 ? v4 : v6);
}

SEC("netfilter")
int delay_netfilter(struct bpf_nf_ctx *ctx)
{
	struct sk_buff *skb = ctx->skb;
	__u8 ip[IP_PROTOCOL + 1];

	if (bpf_probe_read_kernel(ip, sizeof(ip), (void *)(skb->head + skb->network_header)))
		return NF_ACCEPT;
	if (wanted(ip[0], ip[IP_PROTOCOL], ip[IP6_NEXTHDR]))
		spin(skb->tstamp);
	return NF_ACCEPT;
}

/* At ingress tstamp reads as 0, unless the program shows that it knows of tstamp_type. */
static __always_inline __u64 birth_stamp(struct __sk_buff *skb)
{
	return skb->tstamp_type == BPF_SKB_CLOCK_MONOTONIC ? skb->tstamp : 0;
}

SEC("tcx")
int delay_tcx(struct __sk_buff *skb)
{
	__u8 ip[IP_PROTOCOL + 1];

	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return TCX_NEXT;
	if (bpf_skb_load_bytes_relative(skb, 0, ip, sizeof(ip), BPF_HDR_START_NET))
		return TCX_NEXT;
	if (wanted(ip[0], ip[IP_PROTOCOL], ip[IP6_NEXTHDR]))
		spin(birth_stamp(skb));
	return TCX_NEXT;
}

SEC("tcx")
int clear_stamp(struct __sk_buff *skb)
{
	skb->tstamp = 0;
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
