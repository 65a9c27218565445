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
volatile __u64 delay_ns; /* 0 switches the delay off; what else the program does stays the same */
volatile __u64 protocol; /* delay only packets of this IP protocol; 0 means every packet */
volatile __u64 delayed; /* packets delayed */
volatile __u64 delayed_ns; /* what they really waited, summed */
volatile __u64 seen; /* packets that matched, delayed or not */
volatile __u64 stamped; /* of those, with a birth stamp (skb->tstamp) */
volatile __u64 age_ns; /* how old those were, summed; by the programs that only look */
volatile __u64 ifindex; /* delay_netif_rx: only packets to this device ... */
volatile __u64 netns; /* ... of the network namespace with this inode */

/* Four divisions that wait for each other. */
#define DIVIDE_4(x, by) asm volatile("%0 /= %1\n%0 /= %1\n%0 /= %1\n%0 /= %1" : "+r"(x) : "r"(by))
#define DIVIDE_16(x, by) \
	DIVIDE_4(x, by); \
	DIVIDE_4(x, by); \
	DIVIDE_4(x, by); \
	DIVIDE_4(x, by)

/* 64 of them: 0.2 to 1 us. */
static __always_inline void pass_time(__u64 x)
{
	__u64 by = x | 1;

	DIVIDE_16(x, by);
	DIVIDE_16(x, by);
	DIVIDE_16(x, by);
	DIVIDE_16(x, by);
}

struct wait {
	__u64 until;
	__u64 now;
	__u64 took; /* ns that one pass_time() takes here; 0: not known yet */
};

#define LONG_PASS 16 /* times pass_time(): what loops turn is what disturbs */
#define MOST_PASSES 32
#define MOST_TURNS 1024
#define MOST_LOOKS 256
#define SHORT_NS 2000 /* rather by looking at the clock alone, as long as pass_time() is not known */

/* Passes half of the time that is left; 1 ends the loop. */
static long turn(__u32 i, struct wait *w)
{
	__s64 left = w->until - w->now;
	__u64 passes = w->took ? (__u64)left / 2 / w->took : 1, before = w->now;

	if (left <= 0 || !passes || (!w->took && left < SHORT_NS))
		return 1;
	if (passes < LONG_PASS) {
#pragma clang loop unroll(disable)
		for (__u64 pass = 0; pass < LONG_PASS && pass < passes; pass++)
			pass_time(w->until);
	} else {
#pragma clang loop unroll(disable)
		for (__u64 pass = 0; pass < MOST_PASSES && pass < passes / LONG_PASS; pass++) {
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
			pass_time(w->until);
		}
	}
	w->now = bpf_ktime_get_ns();
	if (!w->took)
		w->took = w->now - before + 1;
	return 0;
}

/*
 * Waits until a moment, looking at the clock as seldom as can be: after hundreds
 * of looks the code behind the injector took up to 150 ns longer.
 */
static __always_inline __u64 wait_until(__u64 until, __u64 now)
{
	struct wait w = { .until = until, .now = now };

	bpf_loop(MOST_TURNS, turn, &w, 0);
	now = w.now;
#pragma clang loop unroll(disable)
	for (int look = 0; look < MOST_LOOKS && now < until; look++)
		now = bpf_ktime_get_ns();
	return now;
}

static __always_inline void spin(__u64 tstamp)
{
	__u64 start, now;

	__sync_fetch_and_add(&seen, 1);
	if (tstamp)
		__sync_fetch_and_add(&stamped, 1);
	/* without a delay too: the difference between on and off is then the delay alone */
	start = bpf_ktime_get_ns();
	now = wait_until(start + delay_ns, start);
	if (!delay_ns)
		return;
	__sync_fetch_and_add(&delayed, 1);
	__sync_fetch_and_add(&delayed_ns, now - start);
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

/* Behind every program that was attached to this tracepoint before. */
SEC("tp_btf/netif_rx")
int delay_netif_rx(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct net_device *dev = skb->dev;
	__u8 ip[IP_PROTOCOL + 1];

	if (dev->ifindex != ifindex || dev->nd_net.net->ns.inum != netns)
		return 0;
	if (bpf_probe_read_kernel(ip, sizeof(ip), (void *)(skb->head + skb->network_header)))
		return 0;
	if (wanted(ip[0], ip[IP_PROTOCOL], ip[IP6_NEXTHDR]))
		spin(0);
	return 0;
}

/* How old a packet is here. `tstamp` is when its sender's TCP let it go, 0 where nobody knows. */
static __always_inline void look(__u64 tstamp)
{
	__u64 now = bpf_ktime_get_ns();

	__sync_fetch_and_add(&seen, 1);
	if (!tstamp)
		return;
	__sync_fetch_and_add(&stamped, 1);
	__sync_fetch_and_add(&age_ns, now - tstamp);
}

SEC("netfilter")
int age_netfilter(struct bpf_nf_ctx *ctx)
{
	struct sk_buff *skb = ctx->skb;
	__u8 ip[IP_PROTOCOL + 1];

	if (!bpf_probe_read_kernel(ip, sizeof(ip), (void *)(skb->head + skb->network_header)) &&
	    wanted(ip[0], ip[IP_PROTOCOL], ip[IP6_NEXTHDR]))
		look(skb->tstamp);
	return NF_ACCEPT;
}

SEC("tcx")
int age_tcx(struct __sk_buff *skb)
{
	__u8 ip[IP_PROTOCOL + 1];

	if ((skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6)) &&
	    !bpf_skb_load_bytes_relative(skb, 0, ip, sizeof(ip), BPF_HDR_START_NET) &&
	    wanted(ip[0], ip[IP_PROTOCOL], ip[IP6_NEXTHDR]))
		look(birth_stamp(skb));
	return TCX_NEXT;
}

SEC("tcx")
int clear_stamp(struct __sk_buff *skb)
{
	skb->tstamp = 0;
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
