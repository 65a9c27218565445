//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Reads through every kind of declaration that the header has.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void add(__u64 n)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&seen, &key);

	if (value)
		*value += n;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(queue, struct sk_buff *skb)
{
	add(skb->len + skb->dev->ifindex + skb->dev->nd_net.net->ns.inum);
	add(BPF_CORE_READ_BITFIELD(skb, pkt_type) + BPF_CORE_READ_BITFIELD(skb, tstamp_type));
	return 0;
}

SEC("raw_tp/net_dev_queue")
int queue_raw(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];

	add(BPF_CORE_READ(skb, network_header) + BPF_CORE_READ(skb, sk, __sk_common.skc_cookie.counter));
	add(BPF_CORE_READ_BITFIELD_PROBED(skb, cloned) + BPF_CORE_READ_BITFIELD_PROBED(skb, tstamp_type));
	return 0;
}

SEC("netfilter")
int hook(struct bpf_nf_ctx *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();

	add(ctx->state->hook + ctx->skb->len + task->tgid);
	add(BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id));
	return 1;
}

SEC("tcx/ingress")
int device(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data + 14;

	if ((void *)(ip + 1) <= (void *)(long)skb->data_end)
		add(ip->ihl + ip->saddr);
	add(skb->tstamp + skb->tstamp_type);
	return -1;
}

char probe_license[] SEC("license") = "Dual BSD/GPL";
