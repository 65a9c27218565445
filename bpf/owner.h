/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose a device, an address, a port, a flow, a socket or a process is. */
#ifndef VT_OWNER_H
#define VT_OWNER_H

static __always_inline __u32 vt_device_place(__u32 netns, __u32 ifindex)
{
	__u64 key = (__u64)netns << 32 | ifindex;

	return (key * 0x9e3779b97f4a7c15ULL) >> (64 - 14);
}

/* Where a device's entry is, -1: nowhere. Global: the verifier follows its probes once per program. */
__noinline int vt_search_device(__u32 netns, __u32 ifindex)
{
	__u32 first = vt_device_place(netns, ifindex);

#pragma clang loop unroll(disable)
	for (__u32 probe = 0; probe < VT_PROBES; probe++) {
		struct vt_device *device = &vt_devices[(first + probe) & (VT_DEVICES - 1)];

		if (device->netns == netns && device->ifindex == ifindex)
			return (first + probe) & (VT_DEVICES - 1);
		if (device->role == VT_ROLE_NONE)
			break;
	}
	return -1;
}

/* A namespace's or device's entry; NULL: nobody's. ifindex 0 asks for the namespace. */
static __always_inline struct vt_device *vt_lookup_device(__u32 netns, __u32 ifindex)
{
	struct vt_device *device = &vt_devices[vt_device_place(netns, ifindex) & (VT_DEVICES - 1)];
	int at;

	/* nearly all are where they belong: no call for them, nor for those of nobody */
	if (VT_LIKELY(device->netns == netns && device->ifindex == ifindex))
		return device;
	if (device->role == VT_ROLE_NONE)
		return NULL;
	at = vt_search_device(netns, ifindex);
	return at < 0 ? NULL : &vt_devices[at & (VT_DEVICES - 1)];
}
_Static_assert(VT_DEVICES == 1 << 14, "vt_lookup_device takes 14 bits of the hash");

static __always_inline __u32 vt_inode(const struct net *net)
{
	return vt_get(net, ns.inum);
}

static __always_inline __u32 vt_netns(struct net_device *device)
{
	return vt_inode(vt_get(device, nd_net.net));
}

static __always_inline __u32 vt_netns_of(struct sock *sk)
{
	return vt_inode(vt_get(sk, __sk_common.skc_net.net));
}

static __always_inline __u32 vt_address_place(__u64 high, __u64 low)
{
	return ((high ^ low) * 0x9e3779b97f4a7c15ULL) >> (64 - 14);
}

/* The owner of an address that is not where it belongs; 0: there is none. Global, as vt_search_device(). */
__noinline int vt_search_address(__u64 high, __u64 low)
{
	__u32 first = vt_address_place(high, low);

#pragma clang loop unroll(disable)
	for (__u32 probe = 0; probe < VT_PROBES; probe++) {
		struct vt_address *address = &vt_addresses[(first + probe) & (VT_ADDRESSES - 1)];

		if (VT_BOTH(address->low == low, address->high == high))
			return address->owner;
		if (VT_BOTH(!address->low, !address->high)) /* never used */
			break;
	}
	return 0;
}

/* VT_ADDRESS_HOST, number of the target plus 1, or 0: an address elsewhere. */
static __always_inline __u32 vt_lookup_address(__u64 high, __u64 low)
{
	struct vt_address *address = &vt_addresses[vt_address_place(high, low) & (VT_ADDRESSES - 1)];

	if (VT_LIKELY(address->low == low && address->high == high))
		return address->owner;
	if (!address->low && !address->high)
		return 0;
	return vt_search_address(high, low);
}
_Static_assert(VT_ADDRESSES == 1 << 14, "vt_lookup_address takes 14 bits of the hash");

/* Number plus 1 of the target that a local port of the host belongs to, perhaps with VT_PORT_PUBLISHED, or 0. */
static __always_inline __u32 vt_lookup_port(__u8 protocol, __u32 port)
{
	barrier_var(port); /* the compiler knows that it has 16 bits, the verifier of 6.12 does not */
	port &= 0xffff;
	if (protocol == VT_IPPROTO_TCP)
		return vt_ports[0][port];
	if (protocol == VT_IPPROTO_UDP)
		return vt_ports[1][port];
	return 0;
}

/* A flow's place, from the packet that would answer it. */
static __always_inline struct vt_flow *vt_flow_of(__u8 protocol, __u64 remote_high, __u64 remote_low,
						  __u16 remote_port, __u16 local_port, __u32 *tag)
{
	__u64 hash = remote_high * 0xff51afd7ed558ccdULL;

	hash = (hash ^ remote_low) * 0xc4ceb9fe1a85ec53ULL;
	hash ^= hash >> 29;
	hash = (hash ^ ((__u64)protocol << 32 | (__u32)remote_port << 16 | local_port)) * 0x9e3779b97f4a7c15ULL;
	hash ^= hash >> 32;
	*tag = hash;
	return &vt_flows[(hash >> 32) & (VT_FLOWS - 1)];
}

static __always_inline __u32 vt_lookup_flow(const struct vt_packet *packet)
{
	__u32 tag;
	struct vt_flow *flow = vt_flow_of(packet->protocol, packet->source_high, packet->source_low,
					  packet->source_port, packet->target_port, &tag);

	return flow->tag == tag ? flow->target : 0;
}

/* Remembers the flow of a packet that leaves, so that its answers are known. */
static __always_inline void vt_learn_flow(const struct vt_packet *packet, __u16 target)
{
	__u32 tag;
	struct vt_flow *flow = vt_flow_of(packet->protocol, packet->target_high, packet->target_low,
					  packet->target_port, packet->source_port, &tag);

	if (flow->tag == tag && flow->target == target)
		return;
	flow->target = 0;
	flow->tag = tag;
	flow->target = target;
}

static __always_inline struct vt_socket *vt_socket_of(__u64 number)
{
	__u32 at = (number * 0x9e3779b97f4a7c15ULL) >> (64 - 14);

	return &vt_sockets[at & (VT_SOCKETS - 1)];
}
_Static_assert(VT_SOCKETS == 1 << 14, "vt_socket_of takes 14 bits of the hash");

/* A socket's entry, or NULL. */
static __always_inline struct vt_socket *vt_lookup_socket(const struct sock *sk)
{
	__u64 number = vt_number(sk);
	struct vt_socket *socket = vt_socket_of(number);

	return socket->number == number ? socket : NULL;
}

static __always_inline void vt_learn_socket(__u64 number, __u16 target, __u16 flags)
{
	struct vt_socket *socket = vt_socket_of(number);

	socket->number = 0;
	socket->target = target;
	socket->flags = flags;
	socket->ready = 0;
	socket->number = number;
}

static __always_inline __u64 vt_cgroup_of(struct task_struct *task)
{
	if (cfg_cgroup_subsys < 0)
		return vt_get(vt_get(vt_get(vt_get(task, cgroups), dfl_cgrp), kn), id);
	return vt_get(vt_get(vt_get(vt_get(vt_get(task, cgroups), subsys[cfg_cgroup_subsys & 15]), cgroup), kn), id);
}

/*
 * Which group a process is of; -1: none. Global: the verifier of Linux 6.1 would
 * follow its loop once for each way that leads here, beyond its limit.
 */
VT_COLD_GLOBAL int vt_search_group(__u64 cgroup, __u32 tgid)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < VT_GROUPS; i++) {
		struct vt_group *group = &vt_groups[i];

		if (!group->target)
			break;
		if (group->cgroup ? group->cgroup == cgroup : group->tgid == tgid)
			return i;
	}
	return -1;
}

/* The group of a process; NULL: nobody's. */
static __always_inline struct vt_group *vt_group_of(struct task_struct *task)
{
	int at = vt_search_group(vt_cgroup_of(task), vt_get(task, tgid));

	return at < 0 ? NULL : &vt_groups[at & (VT_GROUPS - 1)];
}

/* That of the process that runs now: only where it is the one that acts. */
static __always_inline struct vt_group *vt_current_group(void)
{
	return vt_group_of(vt_current_task());
}

#endif
