/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcx programs at the devices of a path, from the wire to the container. */
#ifndef VT_HOOK_DEVICE_H
#define VT_HOOK_DEVICE_H

/* The uplink, from outside: most journeys towards a target begin here. */
SEC("tcx/ingress")
int vt_uplink_ingress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct vt_packet packet;
	struct vt_origin origin = {
		.hook = VT_HOOK_UPLINK_INGRESS,
		.ifindex = ctx->ifindex,
		.peer = { VT_PEER_UPLINK },
	};
	struct vt_found found;

	if (!vt_open || !vt_parse(skb, &packet) || !vt_wanted_packet(&packet))
		return VT_TCX_NEXT;
	origin.target[VT_INGRESS] = vt_destined(&packet);
	if (origin.target[VT_INGRESS])
		vt_start(skb, &packet, &origin, &found);
	return VT_TCX_NEXT;
}

/* Conntrack says that the other end opened this connection. */
static __always_inline bool vt_answers(struct sk_buff *skb)
{
	__u64 conntrack = skb->_nfct;

	return conntrack > VT_NFCT_INFO && (conntrack & VT_NFCT_INFO) > VT_CT_NEW;
}

/* Remembers a connection that a target has opened, as it looks outside. */
VT_COLD void vt_learn_leaving(struct sk_buff *skb, __u16 target)
{
	struct vt_packet packet;

	if (vt_parse(skb, &packet) && !vt_lookup_port(packet.protocol, packet.source_port))
		vt_learn_flow(&packet, target);
}

/* The uplink, to outside: a journey from a target ends here, or behind the device's queue. */
SEC("tcx/egress")
int vt_uplink_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct vt_found found;
	struct vt_slot *slot = vt_pass(skb, &found, VT_HOOK_UPLINK_EGRESS, ctx->ifindex);

	if (!slot)
		return VT_TCX_NEXT;
	if (!slot->target[VT_EGRESS]) {
		vt_forget(slot, found);
		return VT_TCX_NEXT;
	}
	slot->peer[VT_EGRESS] = VT_PEER_UPLINK;
	if (!vt_answers(skb))
		vt_learn_leaving(skb, slot->target[VT_EGRESS]);
	/* a packet that the kernel may still cut into segments would not be seen again behind the queue */
	if (!cfg_qdisc || slot->segments > 1)
		vt_complete(slot, found);
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int vt_bridge_ingress(struct __sk_buff *ctx)
{
	struct vt_found found;

	vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_BRIDGE_INGRESS, ctx->ifindex);
	return VT_TCX_NEXT;
}

SEC("tcx/egress")
int vt_bridge_egress(struct __sk_buff *ctx)
{
	struct vt_found found;

	vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_BRIDGE_EGRESS, ctx->ifindex);
	return VT_TCX_NEXT;
}

SEC("tcx/ingress")
int vt_port_ingress(struct __sk_buff *ctx)
{
	struct vt_found found;

	vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_PORT_INGRESS, ctx->ifindex);
	return VT_TCX_NEXT;
}

/* Who sent a packet that began unseen, by the device at which this namespace received it. */
VT_COLD __u16 vt_came_from(struct sk_buff *skb)
{
	struct vt_device *device;

	if (!skb->skb_iif)
		return VT_PEER_HOST;
	device = vt_lookup_device(cfg_host_netns, skb->skb_iif);
	if (device && device->role == VT_ROLE_FOREIGN)
		return VT_PEER_FOREIGN + device->target;
	return device && device->role == VT_ROLE_UPLINK ? VT_PEER_UPLINK : VT_PEER_UNKNOWN;
}

/* The host's end of a target's veth: here a journey meets its target, if it did not know it. */
SEC("tcx/egress")
int vt_port_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct vt_found found;
	struct vt_slot *slot = vt_pass(skb, &found, VT_HOOK_PORT_EGRESS, ctx->ifindex);
	struct vt_device *device;

	/* as guessed at the start: no need to look */
	if (slot && vt_port_index[(slot->target[VT_INGRESS] - 1) & (VT_TARGETS - 1)] == ctx->ifindex)
		return VT_TCX_NEXT;
	device = vt_lookup_device(cfg_host_netns, ctx->ifindex);
	if (!device || device->role != VT_ROLE_PORT)
		return VT_TCX_NEXT;
	if (slot) {
		vt_join(slot, device->target + 1, VT_INGRESS);
	} else {
		struct vt_origin origin = {
			.hook = VT_HOOK_PORT_EGRESS,
			.ifindex = ctx->ifindex,
			.target = { device->target + 1, 0 },
			.peer = { vt_came_from(skb), 0 },
		};

		vt_start_late(skb, &origin, VT_INGRESS, false, &found);
	}
	return VT_TCX_NEXT;
}

/*
 * The host's end of a veth whose container is no target, at detail `devices`:
 * nothing behind it is hooked, so a journey to it ends here.
 */
SEC("tcx/egress")
int vt_foreign_egress(struct __sk_buff *ctx)
{
	struct vt_found found;
	struct vt_slot *slot = vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_PORT_EGRESS, ctx->ifindex);
	struct vt_device *device;

	if (!slot)
		return VT_TCX_NEXT;
	if (!slot->target[VT_EGRESS]) {
		vt_forget(slot, found);
		return VT_TCX_NEXT;
	}
	device = vt_lookup_device(cfg_host_netns, ctx->ifindex);
	if (device)
		slot->peer[VT_EGRESS] = VT_PEER_FOREIGN + device->target;
	vt_complete_rarely(found.index, found.owner);
	return VT_TCX_NEXT;
}

/* The target's own device, towards it: each packet that arrives passes here. */
SEC("tcx/ingress")
int vt_device_ingress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct vt_found found;
	struct vt_slot *slot = vt_pass(skb, &found, VT_HOOK_DEVICE_INGRESS, ctx->ifindex);
	struct vt_device *device;

	if (slot && slot->target[VT_INGRESS])
		goto end;
	device = vt_lookup_device(vt_netns(skb->dev), ctx->ifindex);
	if (!device)
		return VT_TCX_NEXT;
	if (slot) {
		vt_join(slot, device->target + 1, VT_INGRESS);
	} else {
		struct vt_origin origin = {
			.hook = VT_HOOK_DEVICE_INGRESS,
			.ifindex = ctx->ifindex,
			.target = { device->target + 1, 0 },
		};

		slot = vt_start_late(skb, &origin, VT_INGRESS, true, &found);
	}
end:
	if (cfg_end_at_device && slot)
		vt_complete(slot, found);
	return VT_TCX_NEXT;
}

/* The target's own device, from it: each packet that leaves passes here. */
SEC("tcx/egress")
int vt_device_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct vt_found found;
	struct vt_slot *slot = vt_pass(skb, &found, VT_HOOK_DEVICE_EGRESS, ctx->ifindex);
	struct vt_device *device;

	if (slot)
		return VT_TCX_NEXT;
	device = vt_lookup_device(vt_netns(skb->dev), ctx->ifindex);
	if (device) {
		struct vt_origin origin = {
			.hook = VT_HOOK_DEVICE_EGRESS,
			.ifindex = ctx->ifindex,
			.target = { 0, device->target + 1 },
		};

		vt_start_late(skb, &origin, VT_EGRESS, true, &found);
	}
	return VT_TCX_NEXT;
}

/* The host's loopback, where docker-proxy or a host-mode target is reached from the host. */
SEC("tcx/ingress")
int vt_loopback_ingress(struct __sk_buff *ctx)
{
	struct vt_found found;

	vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_LOOPBACK_INGRESS, ctx->ifindex);
	return VT_TCX_NEXT;
}

SEC("tcx/egress")
int vt_loopback_egress(struct __sk_buff *ctx)
{
	struct vt_found found;

	vt_pass(bpf_cast_to_kern_ctx(ctx), &found, VT_HOOK_LOOPBACK_EGRESS, ctx->ifindex);
	return VT_TCX_NEXT;
}

/* Right behind vt_device_egress: the zero line of tcx. */
SEC("tcx/egress")
int vt_null_tcx(struct __sk_buff *ctx)
{
	vt_null_hop(bpf_cast_to_kern_ctx(ctx), VT_HOOK_DEVICE_EGRESS, VT_TYPE_TCX);
	return VT_TCX_NEXT;
}

/* Right behind vt_uplink_ingress: the same where no target has a device of its own. */
SEC("tcx/ingress")
int vt_null_uplink(struct __sk_buff *ctx)
{
	vt_null_hop(bpf_cast_to_kern_ctx(ctx), VT_HOOK_UPLINK_INGRESS, VT_TYPE_TCX);
	return VT_TCX_NEXT;
}

#endif
