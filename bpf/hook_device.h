/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcx programs at the devices of a path, from the wire to the container. */
#ifndef VT_HOOK_DEVICE_H
#define VT_HOOK_DEVICE_H

/*
 * Device borders are taken here, or by the tracepoints of hook_device_tp.h.
 * Where the number of targets may pass what tcx is good for, each CPU has a
 * switch, which is only turned while that CPU runs no packet: so a packet is
 * seen by one of the two at each device, never by both or none.
 */
static __always_inline bool vt_elsewhere(void)
{
	return cfg_switchable && vt_switched[bpf_get_smp_processor_id() & (VT_CPUS - 1)];
}

/* The uplink, from outside: most journeys towards a target begin here. */
static __always_inline void vt_from_uplink(struct sk_buff *skb, __u32 ifindex)
{
	struct vt_packet packet;
	struct vt_origin origin = {
		.hook = VT_HOOK_UPLINK_INGRESS,
		.ifindex = ifindex,
		.peer = { VT_PEER_UPLINK },
	};
	struct vt_found found;

	if (!vt_open || !vt_parse(skb, &packet) || !vt_wanted_packet(&packet))
		return;
	origin.target[VT_INGRESS] = vt_destined(&packet);
	if (VT_UNLIKELY(vt_is_fragment(&packet)) && !origin.target[VT_INGRESS]) {
		/* no ports: it goes where the first fragment went */
		struct vt_look look;
		int fellow;

		vt_look_at(skb, &look);
		fellow = vt_fellow(&look, packet.ipv6);
		found.index = fellow;
		if (fellow >= 0)
			origin.target[VT_INGRESS] = vt_slot_of(found)->target[VT_INGRESS];
	}
	if (origin.target[VT_INGRESS])
		vt_start(skb, &packet, &origin, &found);
}

SEC(VT_TCX_INGRESS)
int vt_uplink_ingress(struct __sk_buff *ctx)
{
	if (!vt_elsewhere())
		vt_from_uplink(vt_packet_of(ctx), ctx->ifindex);
	return VT_TCX_NEXT;
}

/* Conntrack says that the other end opened this connection. */
static __always_inline bool vt_answers(struct sk_buff *skb)
{
	__u64 conntrack = vt_get(skb, _nfct);

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
static __always_inline void vt_to_uplink(struct sk_buff *skb, struct vt_slot *slot, struct vt_found found)
{
	if (!slot->target[VT_EGRESS]) {
		vt_forget(slot, found);
		return;
	}
	slot->peer[VT_EGRESS] = VT_PEER_UPLINK;
	if (!vt_answers(skb))
		vt_learn_leaving(skb, slot->target[VT_EGRESS]);
	/* a packet that the kernel may still cut into segments would not be seen again behind the queue */
	if (!cfg_qdisc || slot->segments > 1)
		vt_finish(slot, found);
}

SEC(VT_TCX_EGRESS)
int vt_uplink_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = vt_packet_of(ctx);
	struct vt_found found;
	struct vt_slot *slot;

	if (vt_elsewhere())
		return VT_TCX_NEXT;
	slot = vt_pass(skb, &found, VT_HOOK_UPLINK_EGRESS, ctx->ifindex);
	if (slot)
		vt_to_uplink(skb, slot, found);
	return VT_TCX_NEXT;
}

/* A border and nothing else. */
static __always_inline int vt_at_device(struct __sk_buff *ctx, __u32 hook)
{
	struct vt_found found;

	if (!vt_elsewhere())
		vt_pass(vt_packet_of(ctx), &found, hook, ctx->ifindex);
	return VT_TCX_NEXT;
}

SEC(VT_TCX_INGRESS)
int vt_bridge_ingress(struct __sk_buff *ctx)
{
	return vt_at_device(ctx, VT_HOOK_BRIDGE_INGRESS);
}

SEC(VT_TCX_EGRESS)
int vt_bridge_egress(struct __sk_buff *ctx)
{
	return vt_at_device(ctx, VT_HOOK_BRIDGE_EGRESS);
}

SEC(VT_TCX_INGRESS)
int vt_port_ingress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = vt_packet_of(ctx);
	struct vt_found found;
	struct vt_slot *slot;

	if (vt_elsewhere())
		return VT_TCX_NEXT;
	slot = vt_pass(skb, &found, VT_HOOK_PORT_INGRESS, ctx->ifindex);
	if (slot)
		vt_grown(skb, slot);
	return VT_TCX_NEXT;
}

/* Who sent a packet that began unseen, by the device at which this namespace received it. */
VT_COLD __u16 vt_came_from(struct sk_buff *skb)
{
	struct vt_device *device;

	if (!vt_get(skb, skb_iif))
		return VT_PEER_HOST;
	device = vt_lookup_device(cfg_host_netns, vt_get(skb, skb_iif));
	if (device && device->role == VT_ROLE_FOREIGN)
		return VT_PEER_FOREIGN + device->target;
	if (device && device->role == VT_ROLE_PORT)
		return VT_PEER_TARGET + device->target;
	return device && device->role == VT_ROLE_UPLINK ? VT_PEER_UPLINK : VT_PEER_UNKNOWN;
}

/* The host's end of a target's veth: here a journey meets its target, if it did not know it. */
static __always_inline void vt_to_port(struct sk_buff *skb, struct vt_slot *slot, struct vt_device *device)
{
	struct vt_found found;

	if (slot) {
		vt_join(slot, device->target + 1, VT_INGRESS);
	} else {
		struct vt_origin origin = {
			.hook = VT_HOOK_PORT_EGRESS,
			.ifindex = device->ifindex,
			.target = { device->target + 1, 0 },
			.peer = { vt_came_from(skb), 0 },
		};

		vt_start_late(skb, &origin, VT_INGRESS, false, &found);
	}
}

SEC(VT_TCX_EGRESS)
int vt_port_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = vt_packet_of(ctx);
	__u32 ifindex = ctx->ifindex;
	struct vt_found found;
	struct vt_slot *slot;
	struct vt_device *device;

	barrier_var(ifindex); /* read once: the compiler would keep an address in the context instead */
	if (vt_elsewhere())
		return VT_TCX_NEXT;
	slot = vt_pass(skb, &found, VT_HOOK_PORT_EGRESS, ifindex);
	if (slot)
		vt_may_split(skb, slot, found);
	/* as guessed at the start: no need to look */
	if (slot && vt_port_index[(slot->target[VT_INGRESS] - 1) & (VT_TARGETS - 1)] == ifindex)
		return VT_TCX_NEXT;
	device = vt_lookup_device(cfg_host_netns, ifindex);
	if (device && device->role == VT_ROLE_PORT)
		vt_to_port(skb, slot, device);
	return VT_TCX_NEXT;
}

/*
 * The host's end of a veth whose container is no target, at detail `devices`:
 * nothing behind it is hooked, so a journey to it ends here.
 */
static __always_inline void vt_to_neighbour(struct vt_slot *slot, struct vt_found found, struct vt_device *device)
{
	if (!slot->target[VT_EGRESS]) {
		vt_forget(slot, found);
		return;
	}
	if (device)
		slot->peer[VT_EGRESS] = VT_PEER_FOREIGN + device->target;
	vt_complete_rarely(found.index, found.owner);
}

SEC(VT_TCX_EGRESS)
int vt_foreign_egress(struct __sk_buff *ctx)
{
	struct vt_found found;
	struct vt_slot *slot;

	if (vt_elsewhere())
		return VT_TCX_NEXT;
	slot = vt_pass(vt_packet_of(ctx), &found, VT_HOOK_PORT_EGRESS, ctx->ifindex);
	if (slot)
		vt_to_neighbour(slot, found, vt_lookup_device(cfg_host_netns, ctx->ifindex));
	return VT_TCX_NEXT;
}

/* A packet that reaches a target's own device and has no journey to it yet. Returns its slot, or NULL. */
static __always_inline struct vt_slot *vt_arrive(struct sk_buff *skb, struct vt_slot *slot, struct vt_found *found,
						 struct vt_device *device)
{
	struct vt_origin origin = {
		.hook = VT_HOOK_DEVICE_INGRESS,
		.ifindex = device->ifindex,
		.target = { device->target + 1, 0 },
	};

	if (!slot)
		return vt_start_late(skb, &origin, VT_INGRESS, true, found);
	vt_join(slot, device->target + 1, VT_INGRESS);
	return slot;
}

/* The target's own device, towards it: each packet that arrives passes here. */
SEC(VT_TCX_INGRESS)
int vt_device_ingress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = vt_packet_of(ctx);
	struct vt_found found;
	struct vt_slot *slot;
	struct vt_device *device;

	if (vt_elsewhere())
		return VT_TCX_NEXT;
	slot = vt_pass(skb, &found, VT_HOOK_DEVICE_INGRESS, ctx->ifindex);
	if (slot)
		vt_grown(skb, slot);
	if (!slot || !slot->target[VT_INGRESS]) {
		device = vt_lookup_device(vt_netns(vt_get(skb, dev)), ctx->ifindex);
		if (!device)
			return VT_TCX_NEXT;
		slot = vt_arrive(skb, slot, &found, device);
	}
	if (cfg_end_at_device && slot)
		vt_complete(slot, found);
	return VT_TCX_NEXT;
}

/* A packet that leaves a target's own device and has no journey yet. */
static __always_inline void vt_depart(struct sk_buff *skb, struct vt_device *device)
{
	struct vt_slot *slot;
	struct vt_found found;
	struct vt_origin origin = {
		.hook = VT_HOOK_DEVICE_EGRESS,
		.ifindex = device->ifindex,
		.target = { 0, device->target + 1 },
	};

	slot = vt_start_late(skb, &origin, VT_EGRESS, true, &found);
	if (slot)
		vt_may_split(skb, slot, found);
}

/* The target's own device, from it: each packet that leaves passes here. */
SEC(VT_TCX_EGRESS)
int vt_device_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = vt_packet_of(ctx);
	struct vt_found found;
	struct vt_slot *slot;
	struct vt_device *device;

	if (vt_elsewhere())
		return VT_TCX_NEXT;
	slot = vt_pass(skb, &found, VT_HOOK_DEVICE_EGRESS, ctx->ifindex);
	if (slot) {
		vt_may_split(skb, slot, found);
		return VT_TCX_NEXT;
	}
	device = vt_lookup_device(vt_netns(vt_get(skb, dev)), ctx->ifindex);
	if (device)
		vt_depart(skb, device);
	return VT_TCX_NEXT;
}

/* The host's loopback, where docker-proxy or a host-mode target is reached from the host. */
SEC(VT_TCX_INGRESS)
int vt_loopback_ingress(struct __sk_buff *ctx)
{
	return vt_at_device(ctx, VT_HOOK_LOOPBACK_INGRESS);
}

SEC(VT_TCX_EGRESS)
int vt_loopback_egress(struct __sk_buff *ctx)
{
	return vt_at_device(ctx, VT_HOOK_LOOPBACK_EGRESS);
}

/* Right behind vt_device_egress: the zero line of tcx. */
SEC(VT_TCX_EGRESS)
int vt_null_tcx(struct __sk_buff *ctx)
{
	vt_null_hop(vt_packet_of(ctx), VT_HOOK_DEVICE_EGRESS, VT_TYPE_TCX);
	return VT_TCX_NEXT;
}

/* Right behind vt_uplink_ingress: the same where no target has a device of its own. */
SEC(VT_TCX_INGRESS)
int vt_null_uplink(struct __sk_buff *ctx)
{
	vt_null_hop(vt_packet_of(ctx), VT_HOOK_UPLINK_INGRESS, VT_TYPE_TCX);
	return VT_TCX_NEXT;
}

#endif
