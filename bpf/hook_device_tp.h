/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The same borders of devices by two tracepoints of the whole machine, told
 * apart by namespace and index. net_dev_queue fires right behind tcx egress for
 * each device that a packet is given to, netif_receive_skb before the taps and
 * tcx ingress of each device that it comes from. Attaching costs 0.2 ms once
 * instead of 8 ms under RTNL per device and direction; what pays is every packet
 * of the machine.
 */
#ifndef VT_HOOK_DEVICE_TP_H
#define VT_HOOK_DEVICE_TP_H

/* Its entry, if its borders are taken here and now. */
static __always_inline struct vt_device *vt_device_of(struct net_device *dev)
{
	if (cfg_switchable && !vt_switched[bpf_get_smp_processor_id() & (VT_CPUS - 1)])
		return NULL;
	return vt_lookup_device(vt_netns(dev), vt_get(dev, ifindex));
}

/* The hook that a stamp at the egress of such a device names, or VT_HOOK_NONE. */
static __always_inline __u32 vt_queue_hook(__u32 role)
{
	switch (role) {
	case VT_ROLE_DEVICE:
		return VT_HOOK_DEVICE_EGRESS;
	case VT_ROLE_PORT:
		return VT_HOOK_PORT_EGRESS;
	case VT_ROLE_BRIDGE:
		return VT_HOOK_BRIDGE_EGRESS;
	case VT_ROLE_UPLINK:
		return VT_HOOK_UPLINK_EGRESS;
	case VT_ROLE_LOOPBACK:
		return VT_HOOK_LOOPBACK_EGRESS;
	case VT_ROLE_FOREIGN:
		return cfg_end_at_device ? VT_HOOK_PORT_EGRESS : VT_HOOK_NONE;
	}
	return VT_HOOK_NONE;
}

/* A packet is given to a device. */
SEC(VT_TP "net_dev_queue")
int BPF_PROG(vt_device_queue, struct sk_buff *skb)
{
	struct vt_device *device;
	struct vt_found found;
	struct vt_slot *slot;
	__u32 hook;

	vt_run(VT_TYPE_DEVICE);
	device = vt_device_of(vt_get(skb, dev));
	if (!device)
		return 0;
	hook = vt_queue_hook(device->role);
	if (!hook)
		return 0;
	slot = vt_pass(skb, &found, hook, device->ifindex);
	switch (device->role) {
	case VT_ROLE_DEVICE:
		if (slot)
			vt_may_split(skb, slot, found);
		else
			vt_depart(skb, device);
		break;
	case VT_ROLE_PORT:
		if (slot)
			vt_may_split(skb, slot, found);
		if (!slot || slot->target[VT_INGRESS] != device->target + 1)
			vt_to_port(skb, slot, device);
		break;
	case VT_ROLE_UPLINK:
		if (slot)
			vt_to_uplink(skb, slot, found);
		break;
	case VT_ROLE_FOREIGN:
		if (slot)
			vt_to_neighbour(slot, found, device);
		break;
	}
	return 0;
}

/* The hook that a stamp at the ingress of such a device names, or VT_HOOK_NONE: none, or a start. */
static __always_inline __u32 vt_receive_hook(__u32 role)
{
	switch (role) {
	case VT_ROLE_DEVICE:
		return VT_HOOK_DEVICE_INGRESS;
	case VT_ROLE_PORT:
		return VT_HOOK_PORT_INGRESS;
	case VT_ROLE_BRIDGE:
		return VT_HOOK_BRIDGE_INGRESS;
	case VT_ROLE_LOOPBACK:
		return VT_HOOK_LOOPBACK_INGRESS;
	}
	return VT_HOOK_NONE;
}

/* A packet comes from a device. */
SEC(VT_TP "netif_receive_skb")
int BPF_PROG(vt_device_receive, struct sk_buff *skb)
{
	struct vt_device *device;
	struct vt_found found;
	struct vt_slot *slot;
	__u32 hook;

	vt_run(VT_TYPE_DEVICE);
	device = vt_device_of(vt_get(skb, dev));
	if (!device)
		return 0;
	if (device->role == VT_ROLE_UPLINK) {
		vt_from_uplink(skb, device->ifindex);
		return 0;
	}
	hook = vt_receive_hook(device->role);
	if (!hook)
		return 0;
	slot = vt_pass(skb, &found, hook, device->ifindex);
	if (slot)
		vt_grown(skb, slot);
	if (device->role != VT_ROLE_DEVICE)
		return 0;
	if (!slot || !slot->target[VT_INGRESS])
		slot = vt_arrive(skb, slot, &found, device);
	if (cfg_end_at_device && slot)
		vt_complete(slot, found);
	return 0;
}

/* Right behind vt_device_queue: the zero line of these hooks, with the same look at the device. */
SEC(VT_TP "net_dev_queue")
int BPF_PROG(vt_null_queue, struct sk_buff *skb)
{
	struct vt_device *device;

	vt_run(VT_TYPE_DEVICE);
	device = vt_device_of(vt_get(skb, dev));
	if (device && device->role == VT_ROLE_DEVICE)
		vt_null_hop(skb, VT_HOOK_DEVICE_EGRESS, VT_TYPE_DEVICE);
	return 0;
}

/* Right behind vt_device_receive: the same where no target has a device of its own. */
SEC(VT_TP "netif_receive_skb")
int BPF_PROG(vt_null_receive, struct sk_buff *skb)
{
	struct vt_device *device;

	vt_run(VT_TYPE_DEVICE);
	device = vt_device_of(vt_get(skb, dev));
	if (device && device->role == VT_ROLE_UPLINK)
		vt_null_hop(skb, VT_HOOK_UPLINK_INGRESS, VT_TYPE_DEVICE);
	return 0;
}

#endif
