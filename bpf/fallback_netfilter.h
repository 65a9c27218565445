/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Borders of netfilter without its links (before Linux 6.4): trampolines at the
 * entry and the return of nf_hook_slow, which runs the hooks of one point, for
 * the whole machine. It is not called where nothing is registered at the point,
 * as in most containers: there the two borders that journeys need, their start
 * and their end, are the functions on either side.
 */
#ifndef VT_FALLBACK_NETFILTER_H
#define VT_FALLBACK_NETFILTER_H

/* The points whose first and last border are wanted: bit side * 5 + hook. Go sets them. */
volatile const __u32 cfg_netfilter_first = 0, cfg_netfilter_last = 0;

/* Fills in where a packet is; false where nobody wants to know. */
static __always_inline bool vt_netfilter_at(struct vt_nf_ctx *ctx, __u32 hook, __u32 wanted)
{
	__u32 netns, side;

	ctx->state->hook = hook;
	netns = vt_inode(ctx->state->net);
	side = netns != cfg_host_netns;
	if (hook > VT_NF_POST_ROUTING || !(wanted >> (side * 5 + hook) & 1))
		return false;
	/* of others than targets nothing is known */
	return !side || vt_lookup_device(netns, 0);
}

#undef nf_hook_state /* the kernel's, once more */

/* The same for nf_hook_slow. */
static __always_inline bool vt_netfilter_in(struct vt_nf_ctx *ctx, const struct nf_hook_state *from, __u32 wanted)
{
	__u8 family = vt_get(from, pf);

	if (family != VT_NFPROTO_IPV4 && family != VT_NFPROTO_IPV6)
		return false;
	ctx->state->net = vt_get(from, net);
	ctx->state->out = vt_get(from, out);
	return vt_netfilter_at(ctx, vt_get(from, hook), wanted);
}

/* At the return from LOCAL_IN the connection is confirmed: whether it was new, the entry has to tell. */
static __always_inline void vt_enters(struct vt_nf_ctx *ctx)
{
	struct vt_found found;
	struct vt_slot *slot = vt_journey(ctx->skb, &found);

	if (slot && !vt_side(ctx->state) && vt_is_new(ctx->skb))
		slot->flags |= VT_FLAG_NEW;
}

SEC("fentry/nf_hook_slow")
int BPF_PROG(vt_hook_enter, struct sk_buff *skb, struct nf_hook_state *from)
{
	struct vt_nf_state state;
	struct vt_nf_ctx here = { .skb = (void *)vt_plain(skb), .state = &state };
	__u32 ends = cfg_netfilter_last & ((1 << VT_NF_LOCAL_IN) | (1 << (5 + VT_NF_LOCAL_IN)));

	if (!vt_netfilter_in(&here, (void *)vt_plain(from), cfg_netfilter_first | ends))
		return 0;
	if (state.hook == VT_NF_LOCAL_OUT)
		vt_local_out(&here);
	else if (state.hook == VT_NF_LOCAL_IN && !(cfg_netfilter_first & 1 << (vt_side(&state) * 5 + VT_NF_LOCAL_IN)))
		vt_enters(&here);
	else
		vt_border(&here, 0);
	return 0;
}

SEC("fexit/nf_hook_slow")
int BPF_PROG(vt_hook_leave, struct sk_buff *skb, struct nf_hook_state *from, void *entries, __u32 at, int verdict)
{
	struct vt_nf_state state;
	struct vt_nf_ctx here = { .skb = (void *)vt_plain(skb), .state = &state };

	/* else it is gone, or in other hands */
	if (verdict != VT_NF_ACCEPT)
		return 0;
	if (!vt_netfilter_in(&here, (void *)vt_plain(from), cfg_netfilter_last))
		return 0;
	if (state.hook == VT_NF_LOCAL_IN)
		vt_local_in(&here);
	else
		vt_border(&here, VT_BORDERS - 1);
	return 0;
}

/* The function behind LOCAL_OUT, which what is forwarded passes too: a start where nothing is registered there. */
static __always_inline int vt_sends(struct net *net, struct sk_buff *skb)
{
	struct vt_nf_state state = { .net = net };
	struct vt_nf_ctx here = { .skb = skb, .state = &state };
	struct vt_found found;
	__u64 key = vt_key(skb), route;

	/* what is forwarded still has the device that it came from */
	if (vt_get(skb, dev) || !vt_netfilter_at(&here, VT_NF_LOCAL_OUT, cfg_netfilter_first))
		return 0;
	if (vt_any_refused && *vt_refused_of(key) == key)
		return 0;
	if (vt_journey(skb, &found))
		return 0;
	route = vt_get(skb, _skb_refdst) & ~1ULL;
	if (!route)
		return 0;
	state.out = vt_get(vt_cast(struct dst_entry, route), dev);
	vt_local_out(&here);
	return 0;
}

SEC("fentry/ip_output")
int BPF_PROG(vt_ip_output, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return vt_sends((void *)vt_plain(net), (void *)vt_plain(skb));
}

SEC("fentry/ip_mc_output")
int BPF_PROG(vt_ip_mc_output, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return vt_sends((void *)vt_plain(net), (void *)vt_plain(skb));
}

SEC("fentry/ip6_output")
int BPF_PROG(vt_ip6_output, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return vt_sends((void *)vt_plain(net), (void *)vt_plain(skb));
}

/* The function behind LOCAL_IN: an end where nothing is registered there. */
static __always_inline int vt_delivers(struct net *net, struct sk_buff *skb)
{
	struct vt_nf_state state = { .net = net };
	struct vt_nf_ctx here = { .skb = skb, .state = &state };

	/* most packets of the machine are in no slot, or have ended */
	if (vt_find(vt_key(skb), VT_STATE_LIVE).owner && vt_netfilter_at(&here, VT_NF_LOCAL_IN, cfg_netfilter_last))
		vt_local_in(&here);
	return 0;
}

SEC("fentry/ip_local_deliver_finish")
int BPF_PROG(vt_ip_deliver, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return vt_delivers((void *)vt_plain(net), (void *)vt_plain(skb));
}

SEC("fentry/ip6_input_finish")
int BPF_PROG(vt_ip6_deliver, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return vt_delivers((void *)vt_plain(net), (void *)vt_plain(skb));
}

#endif
