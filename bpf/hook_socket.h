/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Behind the journey: when the socket's data was ready and when it was read;
 * and whose a socket is, where namespaces do not tell.
 */
#ifndef VT_HOOK_SOCKET_H
#define VT_HOOK_SOCKET_H

#define VT_WAIT_TRANSPORT 0
#define VT_WAIT_READER 1

static __always_inline void vt_observe_waiting(__u16 target, __u32 what, __u64 ns)
{
	__u32 key = ((target - 1) * 3 + what) * (cfg_shard_mask + 1) + vt_shard();
	struct vt_hist *hist = bpf_map_lookup_elem(&vt_waiting, &key);

	if (!hist)
		return;
	vt_observe(hist, ns);
}

/*
 * Is it the packet of this slot that the socket has just queued? It may be one
 * without data that LOCAL_IN ended last, and another packet, even of a
 * connection that nobody follows, the socket's. One that TCP has merged into the
 * packet before is not found.
 */
static __always_inline bool vt_queued(struct sock *sk, struct vt_found found, __u32 ended)
{
	struct sk_buff *skb = vt_get(sk, sk_receive_queue.prev);

	found.owner = VT_READ_ONCE(*vt_owner_of(found));
	return (found.owner & VT_STATE_MASK) == VT_STATE_ENDED && vt_ended(found) == ended &&
	       (found.owner & ~(VT_GENERATION_MASK | VT_STATE_MASK)) == vt_key(skb) &&
	       vt_held(vt_slot_of(found), skb);
}

/* Runs in the softirq that has just ended a journey at LOCAL_IN, on the same CPU. */
SEC(VT_TP "sk_data_ready")
int BPF_PROG(vt_data_ready, struct sock *sk)
{
	struct vt_global *global = vt_global_of();
	struct vt_found found = {};
	struct vt_slot *slot;
	__u64 ended, now;
	__u32 last;

	vt_run(VT_TYPE_TRACEPOINT);
	if (!global)
		return 0;
	ended = global->last_ended;
	if (!ended || ended >> 32 != vt_netns_of(sk))
		return 0;
	found.index = (__u16)ended - 1;
	if (!vt_queued(sk, found, ended))
		return 0;
	global->last_ended = 0;
	slot = vt_slot_of(found);
	last = slot->stamps - 1;
	if (!slot->target[VT_INGRESS] || last >= VT_STAMPS)
		return 0;
	/* what waits for docker-proxy is in the proxy's own time, not in its target's */
	if (slot->peer[VT_INGRESS] == VT_PEER_PROXY && ended >> 32 == cfg_host_netns)
		return 0;
	barrier_var(last);
	if (last >= VT_STAMPS)
		return 0;
	now = bpf_ktime_get_ns();
	vt_observe_waiting(slot->target[VT_INGRESS], VT_WAIT_TRANSPORT,
			   (now - slot->skew - slot->stamp[last]) & VT_TIME_MASK);
	slot->ready = now;
	if (slot->protocol == VT_IPPROTO_UDP) {
		/* a datagram's read is told by its socket: the oldest unread one counts */
		__u64 number = vt_number(sk);
		struct vt_socket *socket = vt_socket_of(number);

		if (socket->number != number)
			vt_learn_socket(number, slot->target[VT_INGRESS], 0);
		if (!socket->ready)
			socket->ready = now;
	}
	return 0;
}

/* The first byte of a TCP packet is read. */
SEC(VT_TP "skb_copy_datagram_iovec")
int BPF_PROG(vt_copy_datagram, struct sk_buff *skb)
{
	struct vt_found found;
	struct vt_slot *slot;
	__u64 ready;

	vt_run(VT_TYPE_TRACEPOINT);
	found = vt_find(vt_key(skb), VT_STATE_ENDED);
	if (!found.owner)
		return 0;
	slot = vt_slot_of(found);
	ready = slot->ready;
	if (!ready || slot->protocol != VT_IPPROTO_TCP || !slot->target[VT_INGRESS] || !vt_held(slot, skb))
		return 0;
	slot->ready = 0;
	vt_observe_waiting(slot->target[VT_INGRESS], VT_WAIT_READER, bpf_ktime_get_ns() - ready);
	return 0;
}

/* A datagram is read. */
SEC(VT_TP "sock_recv_length")
int BPF_PROG(vt_recv_length, struct sock *sk, int length, int flags)
{
	struct vt_socket *socket;
	__u64 ready;

	vt_run(VT_TYPE_TRACEPOINT);
	socket = vt_lookup_socket(sk);
	if (!socket || !socket->target || length <= 0 || flags & 2 /* MSG_PEEK */)
		return 0;
	ready = socket->ready;
	if (!ready)
		return 0;
	socket->ready = 0;
	vt_observe_waiting(socket->target, VT_WAIT_READER, bpf_ktime_get_ns() - ready);
	return 0;
}

/*
 * TCP sockets of host-mode targets and of docker-proxy, from the moment they
 * act in their own process; they leave the table when they close.
 */
SEC(VT_TP "inet_sock_set_state")
int BPF_PROG(vt_sock_state, struct sock *sk, int before, int after)
{
	struct vt_socket *socket;
	struct vt_group *group;

	if (after == VT_TCP_CLOSE && before != VT_TCP_LISTEN) {
		socket = vt_lookup_socket(sk);
		if (socket)
			socket->number = 0;
		return 0;
	}
	/* from LISTEN to anything but CLOSE goes the copy of a listener that a connection begins with, in any process */
	if (after != VT_TCP_SYN_SENT && after != VT_TCP_LISTEN && after != VT_TCP_CLOSE)
		return 0;
	if (vt_netns_of(sk) != cfg_host_netns)
		return 0;
	group = vt_current_group();
	if (!group)
		return 0;
	if (after == VT_TCP_SYN_SENT) {
		vt_learn_socket(vt_number(sk), group->target, group->flags);
	} else if (!group->flags) {
		__u16 *port = &vt_ports[0][vt_get(sk, __sk_common.skc_num)];

		if (after == VT_TCP_LISTEN)
			*port = group->target;
		else if (*port == group->target)
			*port = 0;
	}
	return 0;
}

#ifndef VT_FALLBACK /* no kernel with its iterators lacks what it needs */
/*
 * The connections that these processes have when tracing begins: run once by
 * Go for each target that needs it. What listens is known by its port.
 */
SEC("iter/task_file")
int vt_sockets_of_tasks(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct vt_group *group;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	group = vt_group_of(task);
	if (!group)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != VT_IPPROTO_TCP || sk->__sk_common.skc_state == VT_TCP_LISTEN)
		return 0;
	if (vt_netns_of(sk) == cfg_host_netns)
		vt_learn_socket(vt_number(sk), group->target, group->flags);
	return 0;
}
#endif

#endif
