//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Whole journeys of a packet that never moves: start, stamps, end and commit,
 * all in one program run, so that every stamp is on the hit path and the
 * histograms tell how many there were. Two lengths: their difference is what a
 * stamp more costs, without start, end and the harness. Clock reads the same.
 */
#include "../../vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "../../bpf/compat.h"
#include "../../bpf/journey.h"
#include "../../bpf/config.h"
#include "../../bpf/maps.h"
#include "../../bpf/packet.h"
#include "../../bpf/count.h"
#include "../../bpf/slot.h"
#include "../../bpf/record.h"
#include "../../bpf/commit.h"
#include "../../bpf/owner.h"
#include "../../bpf/start.h"

#define BENCH_SHORT 9 /* stamps: as many as a packet gets at detail hooks */
#define BENCH_LONG 25

/* Sums what the clock said, so that no read can be left out. */
__u64 bench_sink;

/* Global functions: the verifier looks at each once, not once per stamp. */
__noinline int bench_start(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct vt_packet packet;
	struct vt_origin origin = {
		.hook = VT_HOOK_UPLINK_INGRESS,
		.ifindex = ctx->ifindex,
		.peer = { VT_PEER_UPLINK },
		.target = { 1, 0 },
	};
	struct vt_found found;

	if (vt_parse(skb, &packet))
		vt_start(skb, &packet, &origin, &found);
	return 0;
}

/* The body of vt_bridge_egress, behind a call, which costs a little too. */
__noinline int bench_stamp(struct __sk_buff *ctx)
{
	struct vt_found found;

	vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_BRIDGE_EGRESS, ctx->ifindex);
	return 0;
}

__noinline int bench_end(struct __sk_buff *ctx)
{
	struct vt_found found;
	struct vt_slot *slot = vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_DEVICE_INGRESS, ctx->ifindex);

	if (slot)
		vt_complete(slot, found);
	return 0;
}

/* The end of a journey that nobody counts. */
__noinline int bench_leave(struct __sk_buff *ctx)
{
	struct vt_found found;

	if (vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_DEVICE_INGRESS, ctx->ifindex) && vt_seize(found))
		vt_release(found);
	return 0;
}

__noinline int bench_clock(struct __sk_buff *ctx)
{
	asm volatile("" : : "r"(ctx)); /* as the others take it, or the compiler passes nothing */
	bench_sink += bpf_ktime_get_ns();
	return 0;
}

SEC("tcx/ingress")
int bench_empty(struct __sk_buff *ctx)
{
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int bench_clock_short(struct __sk_buff *ctx)
{
#pragma unroll
	for (int i = 0; i < BENCH_SHORT; i++)
		bench_clock(ctx);
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int bench_clock_long(struct __sk_buff *ctx)
{
#pragma unroll
	for (int i = 0; i < BENCH_LONG; i++)
		bench_clock(ctx);
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int bench_journey_short(struct __sk_buff *ctx)
{
	bench_start(ctx);
#pragma unroll
	for (int i = 0; i < BENCH_SHORT - 2; i++)
		bench_stamp(ctx);
	bench_end(ctx);
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int bench_journey_long(struct __sk_buff *ctx)
{
	bench_start(ctx);
#pragma unroll
	for (int i = 0; i < BENCH_LONG - 2; i++)
		bench_stamp(ctx);
	bench_end(ctx);
	return VT_TCX_NEXT;
}

/* The same journeys without their commit: how much of a stamp is paid at its hook, and how much at the end. */
SEC("tcx/ingress")
int bench_uncounted_short(struct __sk_buff *ctx)
{
	bench_start(ctx);
#pragma unroll
	for (int i = 0; i < BENCH_SHORT - 2; i++)
		bench_stamp(ctx);
	bench_leave(ctx);
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int bench_uncounted_long(struct __sk_buff *ctx)
{
	bench_start(ctx);
#pragma unroll
	for (int i = 0; i < BENCH_LONG - 2; i++)
		bench_stamp(ctx);
	bench_leave(ctx);
	return VT_TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
