/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where everything is kept. Plain variables live in .bss: they need no lookup,
 * and Go maps them into its own memory.
 */
#ifndef VT_MAPS_H
#define VT_MAPS_H

/*
 * Any address of the kernel's. The difference of two pointers is a number that
 * may be stored and hashed, which a pointer may not.
 */
__u64 vt_base[8];

/*
 * Owner words of the slots: number of the skb << 16 | generation << 3 | state.
 * key: set (hash of the number) and way; writer: start and end hooks by
 * compare-and-swap, Go at a target's end; reader: every hook, Go (in flight).
 * Full set: the newcomer gives way and is counted as evicted, unless a journey
 * in it is stale.
 */
__u64 vt_owners[VT_SLOTS] __attribute__((aligned(64)));

/*
 * The journeys themselves, beside their owner words. Writer: whoever holds the
 * packet; reader: the end hook. 8192 of them: at 1,000 packets in flight a
 * set of 8 overflows about once in a million.
 */
struct vt_slot vt_slots[VT_SLOTS] __attribute__((aligned(64)));

/*
 * Devices and namespaces. key: netns inode and ifindex, open addressing with
 * VT_PROBES probes; writer: Go; reader: start hooks and joins. Go refuses a
 * target that finds no place: with the 3,000 entries of 1,000 targets the
 * longest run of neighbours has about nine. An entry that has never been used
 * (role VT_ROLE_NONE) ends a search.
 */
#define VT_PROBES 16
#define VT_DEVICES 16384
struct vt_device vt_devices[VT_DEVICES] __attribute__((aligned(64)));

/*
 * The host's end of each target's first device. Key: number of the target
 * modulo size; value: ifindex; writer: Go; reader: vt_port_egress, which looks
 * the device up where this is another one.
 */
#define VT_TARGETS 4096
__u32 vt_port_index[VT_TARGETS];

/*
 * CPUs whose device borders are taken by tracepoints; looked at only where
 * cfg_switchable is set. Key: CPU modulo size; writer: Go, on that CPU; reader:
 * the hooks at devices.
 */
#define VT_CPUS 1024
__u8 vt_switched[VT_CPUS];

/*
 * Addresses of targets and of the host. Key: address, open addressing; writer:
 * Go; reader: start hooks. An address that finds no place is refused by Go.
 */
#define VT_ADDRESSES 16384
struct vt_address vt_addresses[VT_ADDRESSES] __attribute__((aligned(64)));

/*
 * Whose a local port of the host is: published ports of targets in bridge
 * mode, listening ports of targets in host mode. Key: TCP 0 or UDP 1, port;
 * value: number of the target plus 1, with VT_PORT_PUBLISHED; writer: Go, and the LISTEN event of
 * host-mode sockets; reader: start hooks. Never full.
 */
__u16 vt_ports[2][65536];

/*
 * Flows opened by targets, as their answers will look. Direct-mapped: a newer
 * flow replaces an older one, whose answers then start at the target's device.
 * Writer: the uplink's egress; reader: the uplink's ingress.
 */
#define VT_FLOWS 65536
struct vt_flow vt_flows[VT_FLOWS];

/*
 * Sockets of host-mode targets and of docker-proxy. Direct-mapped by the
 * number of the struct sock; writer: inet_sock_set_state, sk_data_ready, Go
 * (by an iterator); reader: LOCAL_OUT, LOCAL_IN, sock_recv_length. A newer
 * socket replaces an older one, which then is recognised by its port only.
 */
#define VT_SOCKETS 16384
struct vt_socket vt_sockets[VT_SOCKETS];

/*
 * Starts that found no slot, so that a later hook does not take the packet for
 * a new one. Direct-mapped by the skb's number.
 */
#define VT_REFUSED 1024
__u64 vt_refusals[VT_REFUSED];

/*
 * IP packets of which only fragments were seen yet. Direct-mapped by source, id
 * and protocol; value: the fragment that came last, whose slot leads to the
 * others. Writer: starts of fragments, and hooks that see a packet cut or
 * whole again; reader: these, and starts of fragments without ports. A newer
 * packet replaces an older one, whose fragments then are counted as merged
 * when their slots are needed.
 */
#define VT_FRAGMENTS 32768 /* as many as fit into `ready` */
struct vt_fragments {
	__u32 tag;
	__u32 last; /* index of the slot plus 1, 0 none */
};
struct vt_fragments vt_fragments[VT_FRAGMENTS];

/* Ports of --port, a bit each. Writer: Go before attaching. */
__u64 vt_filter_ports[65536 / 64];

/* Processes of host-mode targets: by cgroup or, where that is 0, by thread group. Writer: Go. */
#define VT_GROUPS 64
struct vt_group {
	__u64 cgroup; /* id of the kernfs node */
	__u32 tgid;
	__u16 target; /* number plus 1; 0 ends the list */
	__u16 flags; /* VT_FLAG_PROXY */
};
struct vt_group vt_groups[VT_GROUPS];

/*
 * Since when journeys are started, ns of CLOCK_MONOTONIC: after all hooks
 * stand, until the first one goes; 0: they are not. Writer: Go.
 */
__u64 vt_open;

/*
 * Budget mode: how often programs ran, by the type of their hook: what they
 * cost. Key: CPU modulo size; writer: each program that comes and goes, and
 * kfree_skb; reader: Go. An addition that a softirq interrupts may be lost.
 */
struct vt_runs {
	__u64 runs[VT_TYPE_MAX];
	__u64 pad[8 - VT_TYPE_MAX]; /* a cache line of each CPU */
};
struct vt_runs vt_runs[VT_CPUS] __attribute__((aligned(64)));

/* Some start has found no slot: only from then on vt_refused is worth a look. */
__u32 vt_any_refused;

/* Histogram blocks that no path has had yet begin here. Writer: the first journey of a path. */
__u32 vt_next_block;

/* When each target's proxy last got data, and how much of it is unanswered. Key: target modulo size. */
#define VT_PROXIES 1024
struct vt_proxy {
	__u64 arrived;
	__u64 waiting;
};
struct vt_proxy vt_proxies[VT_PROXIES];

/*
 * Null hops by hook type. Writer: null programs; reader: Go. Index: type, then
 * shard. Never full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VT_TYPE_MAX);
	__type(key, __u32);
	__type(value, struct vt_hist);
} vt_null SEC(".maps");

/*
 * Histograms of hops and paths. Key: block * shards + shard; writer: end hooks
 * (their own shard); reader: Go, through its memory. Blocks are handed out by
 * vt_next_block and vt_free. Go sets the size: see tracer/sizes.go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vt_hist);
} vt_hists SEC(".maps");

/*
 * Histogram blocks that a path has had and no longer needs. Value: block;
 * writer: Go, when a target has gone; reader: the first journey of a path, once
 * vt_next_block has come to the end. Empty: the path is counted (unpathed), not
 * measured. Never full: it has room for all blocks.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__uint(key_size, 0);
	__uint(value_size, sizeof(__u32));
} vt_free SEC(".maps");

/*
 * Paths. Key: hash of what identifies one, open addressing with 16 probes;
 * writer: the first journey of a path; reader: end hooks, Go. Full: as vt_free
 * when empty.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct vt_path);
} vt_paths SEC(".maps");

/*
 * Calls of probed functions, beside the slots. Key: index of the slot; writer:
 * function programs, and the end hook while it tells them apart; one entry where
 * no functions are probed. Full: counted in vt_global.calls_lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vt_calls);
} vt_calls SEC(".maps");

/*
 * What functions take. Key: hash of path, hop and function, open addressing
 * with 16 probes; writer: the first call; reader: end hooks, Go. Full: counted
 * in vt_global.calls_lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vt_row);
} vt_rows SEC(".maps");

/*
 * Accounting. Key: (target * 2 + direction) * shards + shard; writer: start and
 * end hooks; reader: Go. Go sets the size to the targets it will hold.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vt_account);
} vt_accounts SEC(".maps");

/* What belongs to no target. Key: 0; writer: every hook on its CPU; reader: Go. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vt_global);
} vt_globals SEC(".maps");

/*
 * Drops. Key: target, direction, reason, last hook; value: how many; writer:
 * kfree_skb; reader: Go. Full: counted in vt_global.drops_unlisted, and still
 * in the accounts.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct vt_drop_key);
	__type(value, __u64);
} vt_drops SEC(".maps");

/*
 * What netfilter dropped, told apart by addresses and port, so that Go can ask
 * the rules about it. Key: place, addresses, port; value: how many, the first
 * one's other fields; writer: kfree_skb; reader: Go, which empties it. Full: the
 * packet is in vt_drops only, and what dropped it is not known.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct vt_dropped_key);
	__type(value, struct vt_dropped);
} vt_dropped_packets SEC(".maps");

/*
 * What follows a journey's end. Key: (target * 3 + what) * shards + shard, what
 * being 0 transport, 1 reader, 2 proxy; writer: socket programs; reader: Go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vt_hist);
} vt_waiting SEC(".maps");

/* Slow and sampled journeys, struct vt_record each. Full: counted in vt_global.ring_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} vt_records SEC(".maps");

/* Types that Go needs and that no map or variable names: a variable keeps them in the object's BTF. */
struct vt_types {
	struct vt_record record;
	struct vt_call_record calls;
	enum vt_hook hook;
	enum vt_state state;
	enum vt_peer peer;
	enum vt_direction direction;
	enum vt_role role;
	enum vt_skip skip;
	enum vt_type type;
	enum vt_flag flag;
};
struct vt_types vt_emit_types __attribute__((unused));

#endif
