//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * All that runs in the kernel. Read the includes in this order: what a journey
 * is, what can be configured, where it is kept, how a packet is recognised, how
 * its stamps become histograms, and then the thin programs at each hook.
 *
 *   start hook -> slot -> stamp, stamp, ... -> end hook -> histograms, record
 */
#include "../vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "compat.h"
#include "journey.h"
#include "config.h"
#include "maps.h"
#include "packet.h"
#include "count.h"
#include "budget.h"
#include "slot.h"
#include "record.h"
#include "commit.h"
#include "owner.h"
#include "start.h"
#include "null.h"
#include "split.h"

#include "hook_device.h"
#include "hook_device_tp.h"
#include "hook_netfilter.h"
#include "hook_softirq.h"
#include "drop_count.h"
#include "drop_unseen.h"
#include "hook_drop.h"
#include "hook_socket.h"
#include "hook_call.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
