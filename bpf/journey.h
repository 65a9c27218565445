/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * THE contract between the kernel programs and Go: bpf2go makes the Go types
 * from these, and the static asserts below hold the layout.
 */
#ifndef VT_JOURNEY_H
#define VT_JOURNEY_H

#define VT_STAMPS 48 /* stamps of one journey; a hairpin at detail `tables` has about 35 */
#define VT_WAYS 8 /* slots of one set: one cache line of owner words */
#define VT_SETS 1024 /* power of two */
#define VT_SLOTS (VT_WAYS * VT_SETS)
#define VT_BUCKETS 448 /* 16 per power of two, 1 ns to 2^31 ns; see tracer/histogram */
#define VT_BORDERS 12 /* borders of one netfilter hook: first, up to ten between chains, last */

/*
 * A hook, as a stamp names it. Device hooks carry the device's ifindex beside
 * them, netfilter hooks their namespace's side, hook number and border:
 *	VT_HOOK_NETFILTER + (side * 5 + hook) * VT_BORDERS + border
 */
enum vt_hook {
	VT_HOOK_NONE = 0,
	VT_HOOK_UPLINK_INGRESS = 1,
	VT_HOOK_UPLINK_EGRESS = 2,
	VT_HOOK_BRIDGE_INGRESS = 3,
	VT_HOOK_BRIDGE_EGRESS = 4,
	VT_HOOK_PORT_INGRESS = 5, /* the veth's end at the bridge */
	VT_HOOK_PORT_EGRESS = 6,
	VT_HOOK_DEVICE_INGRESS = 7, /* the target's own device */
	VT_HOOK_DEVICE_EGRESS = 8,
	VT_HOOK_LOOPBACK_INGRESS = 9,
	VT_HOOK_LOOPBACK_EGRESS = 10,
	VT_HOOK_NETIF_RX = 11,
	VT_HOOK_GRO_RECEIVE = 12,
	VT_HOOK_START_XMIT = 13,
	VT_HOOK_KFREE_SKB = 14,
	VT_HOOK_NETFILTER = 32,
	VT_HOOK_MAX = 152, /* 32 + 2 sides * 5 hooks * 12 borders */
};

/* The state of a slot: the low three bits of its owner word. */
enum vt_state {
	VT_STATE_FREE = 0,
	VT_STATE_LIVE = 1, /* a journey is under way */
	VT_STATE_ENDED = 2, /* the packet may still be read from the socket */
	VT_STATE_BUSY = 4, /* being filled or committed */
};

/* Who is at the other end of a path. From VT_PEER_TARGET and VT_PEER_FOREIGN on: that plus a number. */
enum vt_peer {
	VT_PEER_UNKNOWN = 0,
	VT_PEER_UPLINK = 1,
	VT_PEER_HOST = 2,
	VT_PEER_PROXY = 3,
	VT_PEER_TARGET = 16,
	VT_PEER_FOREIGN = 0x8000, /* a container that is no target */
};

enum vt_direction {
	VT_INGRESS = 0,
	VT_EGRESS = 1,
};

/* What a device is to the tracer. */
enum vt_role {
	VT_ROLE_NONE = 0,
	VT_ROLE_NETNS = 1, /* key with ifindex 0: a target's whole namespace */
	VT_ROLE_DEVICE = 2, /* a target's device */
	VT_ROLE_PORT = 3, /* the host's end of it */
	VT_ROLE_FOREIGN = 4, /* a port of a traced bridge whose container is no target */
	VT_ROLE_UPLINK = 5,
	VT_ROLE_BRIDGE = 6, /* these two only where tracepoints take the borders of devices */
	VT_ROLE_LOOPBACK = 7,
};

/* Why a packet on a target's device has no journey. */
enum vt_skip {
	VT_SKIP_NOT_IP = 0,
	VT_SKIP_FILTERED = 1,
	VT_SKIP_ATTACHING = 2, /* it was under way before the hooks were complete */
	VT_SKIP_GROUP = 3, /* to a group that nobody has joined where it came to */
	VT_SKIP_MAX = 4,
};

/* Hook types, for the cost of a stamp. */
enum vt_type {
	VT_TYPE_TCX = 0,
	VT_TYPE_NETFILTER = 1,
	VT_TYPE_TRACEPOINT = 2,
	VT_TYPE_DEVICE = 3, /* tracepoints that take the borders of devices */
	VT_TYPE_MAX = 4,
};

enum vt_flag {
	VT_FLAG_NEW = 1, /* the flow's connection was not confirmed yet */
	VT_FLAG_TRUNCATED = 2, /* more than VT_STAMPS stamps */
	VT_FLAG_IPV6 = 4,
	VT_FLAG_DROPPED = 8, /* in a record */
	VT_FLAG_SLOW = 16, /* in a record: for its latency, not by sampling */
	VT_FLAG_PROXY = 32, /* one end is docker-proxy's socket */
	VT_FLAG_FRAGMENT = 64, /* a part of an IP packet that was cut */
	VT_FLAG_COPY = 128, /* counted as cloned, not as started */
};

/*
 * One stamp: generation of the slot (8 bits), hook (8 bits), nanoseconds of
 * CLOCK_MONOTONIC modulo 2^48 (3.2 days). A stamp of another generation was
 * written by a packet that had lost its slot, and is never used.
 */
#define VT_TIME_MASK ((1ULL << 48) - 1)
#define VT_STAMP(generation, hook, time) \
	(((__u64)(generation) & 0xff) << 56 | (__u64)(hook) << 48 | ((time) & VT_TIME_MASK))

/* A journey in flight. One cache line of head, then the stamps. */
struct vt_slot {
	__u64 ident; /* words of the packet that NAT leaves alone */
	__u64 birth; /* skb->tstamp where it is the monotonic time of sending, else 0 */
	__u64 start; /* first stamp */
	__u64 hash; /* of the hooks and devices passed, in order */
	__u64 ready; /* when the socket's data was ready, 0 until then; of a fragment: see change.h */
	__u32 length; /* bytes of IP and above */
	__u32 skew; /* nanoseconds spent in null hops, taken out of every later stamp */
	__u16 target[2]; /* by direction: number of the target plus 1, 0 none */
	__u16 peer[2]; /* by direction: enum vt_peer */
	__u16 segments;
	__u8 stamps; /* how many */
	__u8 protocol;
	__u8 flags; /* enum vt_flag */
	__u8 pad[3];
	__u64 stamp[VT_STAMPS];
	__u32 ifindex[VT_STAMPS];
	__u16 cpu[VT_STAMPS]; /* only where records are wanted */
};

/*
 * One call of a probed function by a journey: hop (8 bits: number of the stamp
 * that ends it), function (7 bits, and VT_RETURN), time as in a stamp.
 */
#define VT_CALLS 96 /* entries and returns of one journey; those beyond are counted */
#define VT_DEPTH 8 /* probed functions inside each other, in one hop */
#define VT_RETURN 0x80
#define VT_CALL(hop, function, time) ((__u64)(hop) << 56 | (__u64)(function) << 48 | ((time) & VT_TIME_MASK))
#define VT_FUNCTION_TABLES 112 /* from here on in groups of eight: the first is the function, the rest its tables */

/* A function that a journey is in, while its calls are told apart. */
struct vt_frame {
	__u64 entered; /* time as in a stamp */
	__u64 inside; /* ns in functions that were called from it */
	__u32 function;
	__u32 pad;
};

/* The calls of the journey in the slot of the same number. */
struct vt_calls {
	__u64 owner; /* word of the slot when they were made: of another generation they are void */
	__u32 count;
	__u32 cpu; /* that made the last one */
	/* while they are told apart: */
	__u64 begin; /* of the hop, as in a stamp */
	__u64 last; /* call, as in a stamp */
	__u64 inside; /* ns of the hop in functions */
	__u64 inclusive, exclusive, since; /* of the call that is done, in ns; since the hop's begin */
	__u32 hop; /* 0: none yet */
	__u32 depth;
	struct vt_frame frame[VT_DEPTH];
	__u64 call[VT_CALLS];
};

/* Figures of one function in one hop of one path. Function 0 is the hop itself: all of it, and without its functions. */
struct vt_row {
	__u64 key; /* 0: free */
	__u64 path; /* its key */
	__u64 since; /* sum of ns from the hop's begin to the calls */
	__u32 ready; /* 1 once the rest is valid */
	__u32 block[2]; /* histograms: inclusive, exclusive */
	__u8 hop;
	__u8 function;
	__u8 depth; /* of its first call: in how many other functions */
	__u8 blocks; /* how many of block[] are valid */
};

/* The calls of a journey that leaves the kernel whole; its record follows, with the same start. */
struct vt_call_record {
	__u64 start;
	__u64 hash;
	__u32 count;
	__u32 pad;
	__u64 call[VT_CALLS];
};

/* A histogram and what is summed beside it. One per hop, path and shard. */
struct vt_hist {
	__u32 bucket[VT_BUCKETS]; /* wraps; Go adds differences */
	__u32 overflow; /* 2^31 ns and more */
	__u32 segments; /* path totals only */
	__u64 sum; /* ns */
	__u64 max; /* ns */
	__u64 bytes; /* path totals only */
};

/* A path: written once, when the first journey takes it. */
struct vt_path {
	__u64 key; /* 0: free */
	__u32 ready; /* 1 once the rest is valid */
	__u16 target;
	__u16 peer;
	__u8 direction;
	__u8 protocol;
	__u8 flags; /* VT_FLAG_NEW, VT_FLAG_IPV6 */
	__u8 stamps;
	__u32 blocks; /* how many of block[] are valid: 0 where there was no room */
	__u8 hook[VT_STAMPS];
	__u32 ifindex[VT_STAMPS];
	__u32 block[VT_STAMPS]; /* [0] the whole path, [i] the hop that ends at stamp i */
};

/* Accounting of one target and direction, one per shard. Each field counts its own event. */
struct vt_account {
	__u64 started;
	__u64 cloned;
	__u64 completed;
	__u64 dropped;
	__u64 merged;
	__u64 evicted;
	__u64 expired;
	__u64 unpathed; /* completed, but not in a histogram */
	__u64 skipped[VT_SKIP_MAX];
};

/* What belongs to no target, one per CPU. */
struct vt_global {
	__u64 mismatched; /* a slot's pointer was right and its packet wrong */
	__u64 raced; /* lost a compare-and-swap at an end */
	__u64 torn; /* stamps of another generation found at a commit */
	__u64 ring_lost; /* records that found the ring full */
	__u64 drops_unlisted; /* drops that found their table full */
	__u64 last_ended; /* slot that LOCAL_IN ended last on this CPU, plus 1; its generation from bit 16 on, its netns from 32 */
	__u64 sampled; /* counts up to the next sample */
	__u64 gro; /* owner word of the packet that GRO looks at on this CPU */
	__u64 whole; /* owner word of the packet that may be cut into segments on this CPU */
	__u64 whole_at; /* where its stamps are since it was cut: index of the slot plus 1, 0: it was not */
	__u64 whole_first; /* its first eight bytes */
	__u64 whole_numbers; /* its TCP sequence and acknowledgement numbers */
	__u64 poll; /* the softirq's function that this CPU is in, as a call; 0 none */
	__u64 calls_lost; /* calls of functions that are in no figure */
	__u64 pad[2];
};

struct vt_drop_key {
	__u16 target;
	__u8 direction;
	__u8 after_end; /* 1: the journey had been handed to the transport layer */
	__u32 reason; /* enum skb_drop_reason of the running kernel */
	__u32 ifindex; /* of the last device passed */
	__u32 pad;
	__u64 history; /* the last eight hooks, the latest in the low byte */
};

/* Packets that netfilter dropped at one place, from one address to another one and its port. */
struct vt_dropped_key {
	struct vt_drop_key drop;
	__u64 source_high, source_low; /* as in vt_address */
	__u64 target_high, target_low;
	__u16 target_port; /* host byte order; of the echo for ICMP */
	__u8 protocol;
	__u8 pad[5];
};

/* How many of them there were, and what the first one said about itself. */
struct vt_dropped {
	__u64 count;
	/* what opened its connection, as it was before any translation; ports in network byte order */
	__u64 opened_source_high, opened_source_low;
	__u64 opened_target_high, opened_target_low;
	__u16 opened_source_port, opened_target_port;
	__u16 source_port;
	__u8 ctinfo; /* enum ip_conntrack_info */
	__u8 tracked; /* 1: it has a connection */
	__u32 status; /* of the connection, enum ip_conntrack_status */
	__u32 netns; /* inode; 0: not known */
	__u32 ifindex; /* of the device it was at; 0: none */
	__u32 out; /* of the device that its route leads to; 0: none */
	__u8 role; /* of the device it was at, enum vt_role */
	__u8 local; /* 1: its route leads to this namespace's own sockets */
	__u8 tcp_flags;
	__u8 icmp_type, icmp_code;
	__u8 pad[3];
};

/* A device (or, with ifindex 0, a namespace) and whose it is. */
struct vt_device {
	__u32 netns; /* inode; 0: free */
	__u32 ifindex;
	__u16 target; /* number of the target, or of the foreign peer */
	__u8 role;
	__u8 pad[5];
};

/* An address and whose it is. */
struct vt_address {
	__u64 high; /* IPv6, or 0 */
	__u64 low; /* IPv6, or 0xffff << 32 | IPv4, as read from memory */
	__u32 owner; /* VT_ADDRESS_*: 0 free */
	__u32 pad;
};
#define VT_PORT_PUBLISHED 0x8000 /* in vt_ports: of a target in bridge mode; else a host-mode target listens there */
#define VT_ADDRESS_HOST 0xffff /* an address of the host itself; else number of the target plus 1 */

/* A flow that a target opened: by it the answers are recognised at the uplink. */
struct vt_flow {
	__u32 tag;
	__u16 target; /* number plus 1, 0 free */
	__u16 pad;
};

/* A socket of a host-mode target, or of docker-proxy. */
struct vt_socket {
	__u64 number; /* of the struct sock; 0 free */
	__u64 ready; /* when its data became ready, 0 when read since */
	__u16 target; /* number plus 1; 0: nobody's, only the time matters */
	__u16 flags; /* VT_FLAG_PROXY */
	__u32 pad;
};

/* A journey as it leaves the kernel. */
struct vt_record {
	__u64 start; /* ns of CLOCK_MONOTONIC */
	__u64 hash;
	__u64 key[2]; /* of the path, by direction; 0 none */
	__u32 length;
	__u32 reason; /* of the drop */
	__u16 target[2];
	__u16 peer[2];
	__u8 stamps;
	__u8 protocol;
	__u8 flags;
	__u8 pad[5];
	__u64 stamp[VT_STAMPS];
	__u32 ifindex[VT_STAMPS];
	__u16 cpu[VT_STAMPS];
};

_Static_assert(sizeof(struct vt_slot) == 64 + VT_STAMPS * 14, "a slot's head is one cache line");
_Static_assert(sizeof(struct vt_hist) == 4 * VT_BUCKETS + 32, "a histogram has no holes");
_Static_assert(sizeof(struct vt_account) == 96, "accounts of two shards share no more than a line");
_Static_assert(sizeof(struct vt_global) == 128, "what every packet counts is in one cache line per CPU");
_Static_assert(sizeof(struct vt_device) == 16, "four devices in a cache line");
_Static_assert(sizeof(struct vt_calls) == 72 + VT_DEPTH * 24 + VT_CALLS * 8, "calls have no holes");
_Static_assert(sizeof(struct vt_row) == 40, "a row has no holes");
_Static_assert(sizeof(struct vt_call_record) != sizeof(struct vt_record), "records are told apart by their size");
_Static_assert(sizeof(struct vt_drop_key) == 24, "a hash key has no holes");
_Static_assert(sizeof(struct vt_dropped_key) == 64, "a hash key has no holes");
_Static_assert(sizeof(struct vt_dropped) == 72, "a value has no holes");
_Static_assert(VT_HOOK_NETFILTER + 2 * 5 * VT_BORDERS == VT_HOOK_MAX, "every netfilter border has its number");
_Static_assert(VT_HOOK_MAX < 256, "a hook fits into a stamp");

#endif
