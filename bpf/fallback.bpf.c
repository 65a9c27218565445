//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * The same programs for kernels that lack what those of vethtrace.bpf.c need:
 * at filters of clsact instead of tcx, as raw tracepoints instead of typed ones,
 * by trampolines instead of netfilter links. They share the maps and .bss of the
 * main object, so either's hooks may follow a journey that the other's began;
 * tracer/choice.go decides which ones do, hook by hook.
 */
#define VT_FALLBACK
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

#include "fallback_netfilter.h"
#include "fallback_other.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
