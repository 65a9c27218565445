/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What Go sets before loading. All of it is frozen, so that the verifier
 * prunes what is off. Defaults are those of a run without any flag.
 */
#ifndef VT_CONFIG_H
#define VT_CONFIG_H

/* Inode of the host's network namespace. */
volatile const __u32 cfg_host_netns = 0;

/* Histograms and accounts are kept in this many copies less one (a power of two less one), by CPU. */
volatile const __u32 cfg_shard_mask = 0;
/* Two CPUs may share a copy: count with atomic operations. */
volatile const bool cfg_shared_shards = false;

/* Number of paths less one; a power of two less one. */
volatile const __u32 cfg_path_mask = 255;

/* Histogram blocks that there are. */
volatile const __u32 cfg_blocks = 0;

/* Sets of slots less one. Tests make it 0, so that all packets meet in one set. */
volatile const __u32 cfg_set_mask = VT_SETS - 1;

/* Journeys leave the kernel whole from this latency on; 0: none for their latency. */
volatile const __u64 cfg_slow_ns = 0;
/* Every so many-th journey of a CPU leaves the kernel whole; 0: none. */
volatile const __u32 cfg_sample = 0;

/* Journeys are looked at whole when they end: for any of the two above, or for their functions. */
volatile const bool cfg_whole = false;
/* Functions are probed: journeys have calls. */
volatile const bool cfg_functions = false;
/* Rows of functions less one; a power of two less one. */
volatile const __u32 cfg_row_mask = 0;

/* Journeys end at the target's device: nothing behind it is hooked (detail `devices`). */
volatile const bool cfg_end_at_device = false;
/* An uplink has a queue: journeys end at net_dev_start_xmit instead of the uplink's tcx egress. */
volatile const bool cfg_qdisc = false;
/* Device borders may change from tcx to tracepoints during the run: vt_switched tells, by CPU. */
volatile const bool cfg_switchable = false;
/* A traced veth cannot take large packets: the kernel cuts them into segments before it. */
volatile const bool cfg_splits = false;
/* A traced veth receives by NAPI: what it receives may have been put together from several packets. */
volatile const bool cfg_gro = false;
/*
 * Budget mode: the hooks come and go, runs are counted by all programs that do,
 * and drops are complete although journeys are not.
 */
volatile const bool cfg_budget = false;
/*
 * Numbers of drop reasons of the running kernel: a netfilter verdict, a tap's copy
 * that found no room, what waits in a queue that goes, and no reason at all.
 */
volatile const __u32 cfg_reason_netfilter = 0, cfg_reason_tap = 0, cfg_reason_purge = 0, cfg_reason_none = 0;
/* What netfilter drops is kept with its addresses: somebody asks the rules about it. */
volatile const bool cfg_keep_dropped = false;
/* Some target shares the host's namespace. */
volatile const bool cfg_host_mode = false;

/* What may start a journey: an IP protocol (0: any), a port of vt_filter_ports, a peer's prefix. */
volatile const __u8 cfg_filter_protocol = 0;
volatile const bool cfg_filter_port = false;
volatile const bool cfg_filter_peer = false;
volatile const __u64 cfg_peer_high = 0, cfg_peer_low = 0; /* as struct vt_address */
volatile const __u64 cfg_peer_mask_high = 0, cfg_peer_mask_low = 0;

/* Containers are told apart by this cgroup v1 controller; -1: by cgroup v2. */
volatile const __s32 cfg_cgroup_subsys = -1;

/* A journey is stale, and its slot may be taken, after this long. */
#define VT_STALE_NS 1000000000ULL

/* A packet that shows up unannounced this soon after opening had begun its way before. */
#define VT_SETTLE_NS 5000000ULL

#endif
