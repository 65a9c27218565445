/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs of netfilter links: one per border of a hook, since a link has no
 * cookie to tell them apart; which hook and which namespace, the state says.
 */
#ifndef VT_HOOK_NETFILTER_H
#define VT_HOOK_NETFILTER_H

static __always_inline __u32 vt_nf_hook(__u32 side, __u32 hook, __u32 border)
{
	return VT_HOOK_NETFILTER + (side * 5 + hook) * VT_BORDERS + border;
}

/* 0: the host's namespace, 1: a target's */
static __always_inline __u32 vt_side(const struct nf_hook_state *state)
{
	return vt_inode(state->net) != cfg_host_netns;
}

/* The connection of this packet is not confirmed yet: it pays for that and for its neighbour's resolution. */
static __always_inline bool vt_is_new(struct sk_buff *skb)
{
	__u64 conntrack = vt_get(skb, _nfct);

	if ((conntrack & VT_NFCT_INFO) != VT_CT_NEW)
		return false;
	return !(vt_get(vt_cast(struct nf_conn, conntrack & ~VT_NFCT_INFO), status) & VT_CT_CONFIRMED);
}

static __always_inline int vt_border(struct bpf_nf_ctx *ctx, __u32 border)
{
	struct sk_buff *skb = ctx->skb;
	struct vt_found found;
	struct vt_slot *slot;
	__u32 side;

	vt_run(VT_TYPE_NETFILTER);
	slot = vt_journey(skb, &found);
	/* most packets of the machine are none of ours: nothing before this */
	if (!slot)
		return VT_NF_ACCEPT;
	side = vt_side(ctx->state);
	vt_write(slot, found, vt_nf_hook(side, ctx->state->hook, border), 0, bpf_ktime_get_ns());
	if (!side && vt_is_new(skb))
		slot->flags |= VT_FLAG_NEW;
	return VT_NF_ACCEPT;
}

VT_NETFILTER
int vt_border_0(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 0);
}

VT_NETFILTER
int vt_border_1(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 1);
}

VT_NETFILTER
int vt_border_2(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 2);
}

VT_NETFILTER
int vt_border_3(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 3);
}

VT_NETFILTER
int vt_border_4(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 4);
}

VT_NETFILTER
int vt_border_5(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 5);
}

VT_NETFILTER
int vt_border_6(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 6);
}

VT_NETFILTER
int vt_border_7(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 7);
}

VT_NETFILTER
int vt_border_8(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 8);
}

VT_NETFILTER
int vt_border_9(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 9);
}

VT_NETFILTER
int vt_border_10(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, 10);
}

VT_NETFILTER
int vt_border_last(struct bpf_nf_ctx *ctx)
{
	return vt_border(ctx, VT_BORDERS - 1);
}

/* Bytes behind the header of TCP or UDP, 0 for what is neither. */
static __always_inline __u32 vt_payload(struct sk_buff *skb, const struct vt_packet *packet)
{
	__u32 header = vt_header(packet->first, packet->ipv6), length, words = 2;

	if (packet->protocol == VT_IPPROTO_TCP)
		words = vt_word(vt_network(skb) + header + 12) >> 4 & 15;
	else if (packet->protocol != VT_IPPROTO_UDP)
		return 0;
	/* IPv4: bytes 2 and 3, all of the packet; IPv6: bytes 4 and 5, what follows its header */
	length = packet->ipv6 ? header + bpf_ntohs((__u16)(packet->first >> 32)) :
				bpf_ntohs((__u16)(packet->first >> 16));
	return length - header - words * 4;
}

/* Number plus 1 of the host-mode target, or (with VT_PORT_PUBLISHED) the proxied one, that sends this. */
static __always_inline __u32 vt_sender(struct sk_buff *skb, const struct vt_packet *packet)
{
	__u32 port = vt_lookup_port(packet->protocol, packet->source_port);
	struct vt_socket *socket;

	if (port || !cfg_host_mode || !vt_get(skb, sk))
		return port;
	if (packet->protocol == VT_IPPROTO_UDP) {
		/* UDP is sent by the process itself */
		struct vt_group *group = vt_current_group();

		return group && !group->flags ? group->target : 0;
	}
	socket = vt_lookup_socket(vt_get(skb, sk));
	return socket && !socket->flags ? socket->target : 0;
}

/* The proxy sends on what it got: its own time is over. */
static __always_inline void vt_proxy_sends(__u16 target, __u64 now)
{
	struct vt_proxy *proxy = &vt_proxies[(target - 1) & (VT_PROXIES - 1)];
	__u32 key = ((target - 1) * 3 + 2) * (cfg_shard_mask + 1) + vt_shard();
	/* with several requests in the proxy it is not known which one this answers */
	bool one = proxy->waiting == 1;
	struct vt_hist *hist;

	proxy->waiting = 0;
	if (!one)
		return;
	hist = bpf_map_lookup_elem(&vt_waiting, &key);
	if (hist)
		vt_observe(hist, now - proxy->arrived);
}

/*
 * Does the proxy send this? UDP is sent by the process itself; its socket is
 * learned by that, so that what answers it is known.
 */
static __always_inline bool vt_proxied(struct sk_buff *skb, const struct vt_packet *packet, __u32 target)
{
	struct sock *sk = vt_get(skb, sk);
	struct vt_socket *socket = sk ? vt_lookup_socket(sk) : NULL;
	bool known = socket && socket->flags & VT_FLAG_PROXY, proxy;
	struct vt_group *group;

	if (!sk || packet->protocol != VT_IPPROTO_UDP)
		return known;
	group = vt_current_group();
	proxy = group && group->flags & VT_FLAG_PROXY;
	if (proxy != known)
		vt_learn_socket(vt_number(sk), target, proxy ? VT_FLAG_PROXY : 0);
	return proxy;
}

/* What the host sends: to a container, as one of the proxy's legs, or for a host-mode target. */
static __always_inline void vt_host_out(struct sk_buff *skb, const struct vt_packet *packet, struct vt_origin *origin)
{
	__u32 sender = vt_sender(skb, packet);

	origin->target[VT_INGRESS] = vt_destined(packet);
	origin->target[VT_EGRESS] = sender & ~VT_PORT_PUBLISHED;
	if (!origin->target[VT_INGRESS] && !origin->target[VT_EGRESS])
		return;
	origin->peer[VT_INGRESS] = VT_PEER_HOST;
	if (sender & VT_PORT_PUBLISHED) {
		/* what the proxy answers: to a target it comes from the proxy, to others it is the proxied one's */
		if (origin->target[VT_INGRESS]) {
			origin->target[VT_EGRESS] = 0;
			origin->peer[VT_INGRESS] = VT_PEER_PROXY;
		} else {
			origin->peer[VT_EGRESS] = VT_PEER_PROXY;
		}
	} else if (origin->target[VT_INGRESS] && sender) {
		/* from one target to another, as vt_join() has it */
		origin->peer[VT_INGRESS] = VT_PEER_TARGET + origin->target[VT_EGRESS] - 1;
		origin->peer[VT_EGRESS] = VT_PEER_TARGET + origin->target[VT_INGRESS] - 1;
	}
	if (origin->target[VT_INGRESS] && vt_proxied(skb, packet, origin->target[VT_INGRESS])) {
		origin->peer[VT_INGRESS] = VT_PEER_PROXY;
		if (vt_payload(skb, packet))
			vt_proxy_sends(origin->target[VT_INGRESS], bpf_ktime_get_ns());
	}
}

/* LOCAL_OUT, first: where a target's own packets begin their journey. */
VT_NETFILTER
int vt_local_out(struct bpf_nf_ctx *ctx)
{
	struct sk_buff *skb = ctx->skb;
	const struct nf_hook_state *state = ctx->state;
	__u32 side = vt_side(state);
	struct vt_origin origin = { .hook = vt_nf_hook(side, VT_NF_LOCAL_OUT, 0), .process = true };
	struct vt_packet packet;
	struct vt_found found;

	vt_run(VT_TYPE_NETFILTER);
	if (!vt_open)
		return VT_NF_ACCEPT;
	/* what a container says to itself crosses no border */
	if (side && vt_get(state->out, flags) & 8 /* IFF_LOOPBACK */)
		return VT_NF_ACCEPT;
	if (side ? !vt_parse_brief(skb, &packet) : !vt_parse(skb, &packet))
		return VT_NF_ACCEPT;
	if (!vt_wanted_packet(&packet))
		return VT_NF_ACCEPT;
	if (side) {
		struct vt_device *device = vt_lookup_device(vt_inode(state->net), 0);

		if (device)
			origin.target[VT_EGRESS] = device->target + 1;
	} else {
		vt_host_out(skb, &packet, &origin);
	}
	if (origin.target[VT_INGRESS] || origin.target[VT_EGRESS])
		vt_start(skb, &packet, &origin, &found);
	return VT_NF_ACCEPT;
}

/* Who the other end is, for a journey that ends in the host's own stack. */
static __always_inline void vt_host_in(struct sk_buff *skb, struct vt_slot *slot)
{
	struct vt_packet packet;
	__u32 port;

	if (!vt_parse(skb, &packet))
		return;
	port = vt_lookup_port(packet.protocol, packet.target_port);
	if (!slot->target[VT_INGRESS] && port && !(port & VT_PORT_PUBLISHED))
		vt_join(slot, port, VT_INGRESS);
	if (slot->target[VT_EGRESS] && slot->peer[VT_EGRESS] == VT_PEER_UNKNOWN) {
		struct vt_socket *socket = vt_get(skb, sk) ? vt_lookup_socket(vt_get(skb, sk)) : NULL;
		/* by its port, as a UDP socket that is not connected is not known here yet */
		bool proxy = port & VT_PORT_PUBLISHED || (socket && socket->flags & VT_FLAG_PROXY);

		slot->peer[VT_EGRESS] = proxy ? VT_PEER_PROXY : VT_PEER_HOST;
	}
	if (!slot->target[VT_INGRESS] || !(port & VT_PORT_PUBLISHED))
		return;
	slot->peer[VT_INGRESS] = VT_PEER_PROXY;
	if (vt_payload(skb, &packet)) {
		struct vt_proxy *proxy = &vt_proxies[(slot->target[VT_INGRESS] - 1) & (VT_PROXIES - 1)];

		proxy->arrived = bpf_ktime_get_ns();
		proxy->waiting++;
	}
}

/* LOCAL_IN, last: handed to the transport layer, the journey ends. */
VT_NETFILTER
int vt_local_in(struct bpf_nf_ctx *ctx)
{
	struct sk_buff *skb = ctx->skb;
	struct vt_global *global;
	struct vt_found found;
	struct vt_slot *slot;
	__u32 netns, side;

	vt_run(VT_TYPE_NETFILTER);
	slot = vt_journey(skb, &found);
	if (!slot)
		return VT_NF_ACCEPT;
	netns = vt_inode(ctx->state->net);
	side = netns != cfg_host_netns;
	vt_write(slot, found, vt_nf_hook(side, VT_NF_LOCAL_IN, VT_BORDERS - 1), 0, bpf_ktime_get_ns());
	if (!side) {
		if (vt_is_new(skb))
			slot->flags |= VT_FLAG_NEW;
		vt_host_in(skb, slot);
	}
	global = vt_global_of();
	if (vt_complete(slot, found) && global)
		global->last_ended = (__u64)netns << 32 | vt_ended(found);
	return VT_NF_ACCEPT;
}

/* Right behind vt_border_0 at FORWARD: the zero line of netfilter without a link in targets' namespaces. */
VT_NETFILTER
int vt_null_forward(struct bpf_nf_ctx *ctx)
{
	vt_run(VT_TYPE_NETFILTER);
	vt_null_hop(ctx->skb, vt_nf_hook(0, VT_NF_FORWARD, 0), VT_TYPE_NETFILTER);
	return VT_NF_ACCEPT;
}

/* Right behind vt_local_out: the zero line of netfilter. */
VT_NETFILTER
int vt_null_netfilter(struct bpf_nf_ctx *ctx)
{
	__u32 hook = vt_nf_hook(vt_side(ctx->state), VT_NF_LOCAL_OUT, 0);

	vt_run(VT_TYPE_NETFILTER);
	vt_null_hop(ctx->skb, hook, VT_TYPE_NETFILTER);
	return VT_NF_ACCEPT;
}

#endif
