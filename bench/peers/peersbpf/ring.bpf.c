//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * What event-printing tracers do at each hook, made again from what they are
 * known to do, to be measured beside vethtrace at the same hooks: look the
 * packet up in an LRU map by its address, note the time there, and send an
 * event with what identifies the packet and its place to a reader that prints
 * it. Fields of the kernel are read one by one by a helper, as they must do it:
 * they attach to functions, whose arguments have no types that the verifier
 * trusts. What they pay for such an attachment (a kprobe) is not in it.
 */
#include "../../../vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "../../../bpf/compat.h"

#define RING_TCX 1
#define RING_NETFILTER 2
#define RING_NETIF_RX 3

/* Fields that vmlinux.h does without. */
struct net_device___ring {
	unsigned int mtu;
} __attribute__((preserve_access_index));

struct sk_buff___ring {
	__u32 mark;
} __attribute__((preserve_access_index));

/* One stamp, as the reader prints it. */
struct ring_event {
	__u64 skb; /* a number for its address */
	__u64 ns; /* CLOCK_MONOTONIC */
	__u64 since; /* ns since the stamp before; 0: there was none */
	__u32 pid, cpu;
	__u32 netns, ifindex, mtu, mark;
	__u32 source, target; /* IPv4, network byte order */
	__u16 source_port, target_port; /* network byte order */
	__u32 length;
	__u16 ethertype; /* network byte order */
	__u8 protocol;
	__u8 hook;
};

/*
 * When a packet was seen last. Key: a number for the address of its skb.
 * Writer and reader: every hook. Size: as many as such tracers choose by
 * default, some hundred times more than are in flight. Full: the kernel evicts
 * what was not used for longest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, __u64);
	__uint(max_entries, 16384);
} ring_seen SEC(".maps");

/*
 * Events. Writer: every hook. Reader: a Go program that prints them. Size: a
 * quarter of a second of a ping-pong. Full: events are lost, counted in ring_lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring_events SEC(".maps");

/* Stamps for which no room was in ring_events. Writer: every hook. Reader: Go. */
__u64 ring_lost;

/* Where numbers for pointers count from. */
__u64 ring_base[8];

/* bpf2go exports only types that a global or a map names. */
struct ring_event *ring_unused_event __attribute__((unused));

static __always_inline void ring_headers(struct sk_buff *skb, struct ring_event *event)
{
	unsigned char *ip = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	struct iphdr header = {};
	__be16 ports[2] = {};

	bpf_probe_read_kernel(&header, sizeof(header), ip);
	bpf_probe_read_kernel(ports, sizeof(ports), ip + sizeof(header));
	event->source = header.saddr;
	event->target = header.daddr;
	event->protocol = header.protocol;
	event->source_port = ports[0];
	event->target_port = ports[1];
}

static __always_inline void ring_stamp(struct sk_buff *skb, struct net_device *dev, __u8 hook)
{
	__u64 number = (__u64)skb, ns = bpf_ktime_get_ns();
	struct ring_event *event;
	void *base = ring_base;
	__u64 *seen, since = 0;

	/* only a privileged program may subtract pointers, and not in C */
	asm volatile("%0 -= %1" : "+r"(number) : "r"(base));
	seen = bpf_map_lookup_elem(&ring_seen, &number);
	if (seen)
		since = ns - *seen;
	bpf_map_update_elem(&ring_seen, &number, &ns, BPF_ANY);

	event = bpf_ringbuf_reserve(&ring_events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&ring_lost, 1);
		return;
	}
	event->skb = number;
	event->ns = ns;
	event->since = since;
	event->hook = hook;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->cpu = bpf_get_smp_processor_id();
	event->netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	event->ifindex = BPF_CORE_READ(dev, ifindex);
	event->mtu = BPF_CORE_READ((struct net_device___ring *)dev, mtu);
	event->mark = BPF_CORE_READ((struct sk_buff___ring *)skb, mark);
	event->length = BPF_CORE_READ(skb, len);
	event->ethertype = BPF_CORE_READ(skb, protocol);
	ring_headers(skb, event);
	bpf_ringbuf_submit(event, 0);
}

SEC("tcx/ingress")
int ring_tcx(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	ring_stamp(skb, skb->dev, RING_TCX);
	return VT_TCX_NEXT;
}

SEC("netfilter")
int ring_netfilter(struct bpf_nf_ctx *ctx)
{
	struct nf_hook_state *state = ctx->state;

	ring_stamp(ctx->skb, state->in ? state->in : state->out, RING_NETFILTER);
	return VT_NF_ACCEPT;
}

SEC("tp_btf/netif_rx")
int BPF_PROG(ring_netif_rx, struct sk_buff *skb)
{
	ring_stamp(skb, skb->dev, RING_NETIF_RX);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
