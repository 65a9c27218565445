//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * An independent count of what packets went through at one device: did what a
 * test wants to happen really happen? Shares nothing with the tracer.
 */
#include "../../../vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#define CPUS 64
#define REASONS 256 /* those of the core; subsystems have numbers of their own far above */
#define SEEN 4096
#define MONOTONIC 1 /* skb->tstamp_type */
#define SOON 1000 /* ns: a birth stamp this far ahead of now is in the future */

/* Where to look. Writer: Go, before loading. */
volatile const __u32 witness_netns;
volatile const __u32 witness_ifindex; /* 0: any device of the namespace */

/* What was seen. Writer: the programs below, by atomic additions; reader: Go. */
__u64 received[CPUS]; /* handed to the stack, by CPU */
__u64 reused; /* of those, with an skb at an address that another one had */
__u64 shared; /* of those, sharing their data with a copy */
__u64 large; /* of those, standing for several segments */
__u64 gro; /* seen by napi_gro_receive */
__u64 queued; /* to be sent */
__u64 queued_large;
__u64 longest; /* bytes of the largest one; of two at once the smaller one may win, the next one tells */
__u64 sent; /* given to the driver */
__u64 crossed; /* come out of a veth */
__u64 future; /* of those, with a birth stamp in the future */
__u64 dropped[REASONS]; /* freed for a reason, by its number */

/* Addresses of skbs seen, direct-mapped: only their distances from here are used. */
__u64 seen[SEEN];

static __always_inline bool here(struct net_device *dev)
{
	if (!dev || (witness_ifindex && dev->ifindex != witness_ifindex))
		return false;
	return dev->nd_net.net->ns.inum == witness_netns;
}

static __always_inline bool is_large(struct sk_buff *skb)
{
	struct skb_shared_info *info = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);

	return BPF_CORE_READ(info, gso_segs) > 1;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_receive, struct sk_buff *skb)
{
	__u64 number = (__u64)skb, *slot;
	void *base = seen;

	if (!here(skb->dev))
		return 0;
	__sync_fetch_and_add(&received[bpf_get_smp_processor_id() & (CPUS - 1)], 1);
	if (BPF_CORE_READ_BITFIELD(skb, cloned))
		__sync_fetch_and_add(&shared, 1);
	if (is_large(skb))
		__sync_fetch_and_add(&large, 1);
	asm volatile("%0 -= %1" : "+r"(number) : "r"(base));
	slot = &seen[(number * 0x9e3779b97f4a7c15ULL) >> 52 & (SEEN - 1)];
	if (*slot == number)
		__sync_fetch_and_add(&reused, 1);
	*slot = number;
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(on_xmit, struct sk_buff *skb, struct net_device *dev)
{
	if (here(dev))
		__sync_fetch_and_add(&sent, 1);
	return 0;
}

SEC("tp_btf/netif_rx")
int BPF_PROG(on_crossing, struct sk_buff *skb)
{
	if (here(skb->dev))
		__sync_fetch_and_add(&crossed, 1);
	return 0;
}

SEC("tp_btf/napi_gro_receive_entry")
int BPF_PROG(on_gro, struct sk_buff *skb)
{
	if (here(skb->dev))
		__sync_fetch_and_add(&gro, 1);
	return 0;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_queue, struct sk_buff *skb)
{
	if (!here(skb->dev))
		return 0;
	__sync_fetch_and_add(&queued, 1);
	if (is_large(skb))
		__sync_fetch_and_add(&queued_large, 1);
	if (skb->len > longest)
		longest = skb->len;
	if (BPF_CORE_READ_BITFIELD(skb, tstamp_type) == MONOTONIC && (__s64)(skb->tstamp - bpf_ktime_get_ns()) > SOON)
		__sync_fetch_and_add(&future, 1);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop, struct sk_buff *skb, void *location, __u32 reason)
{
	if (reason < REASONS && here(skb->dev))
		__sync_fetch_and_add(&dropped[reason], 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
