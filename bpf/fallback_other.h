/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tracepoints that older kernels do not have, or have with fewer arguments. */
#ifndef VT_FALLBACK_OTHER_H
#define VT_FALLBACK_OTHER_H

/* Before Linux 5.17 the tracepoint tells no reason: the attachment of a program that reads one is refused. */
SEC("raw_tp/kfree_skb")
int BPF_PROG(vt_kfree_skb_bare, struct sk_buff *skb)
{
	return ____vt_kfree_skb(ctx, skb, NULL, 0);
}

/* Before Linux 6.2 there is no sk_data_ready; since then it is the first thing that this function does. */
SEC("fentry/sock_def_readable")
int BPF_PROG(vt_data_ready_enter, struct sock *sk)
{
	return ____vt_data_ready(ctx, (void *)vt_plain(sk));
}

#endif
