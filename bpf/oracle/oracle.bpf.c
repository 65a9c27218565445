//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* All that runs in the kernel, with an oracle that looks over its shoulder. For tests only. */
#define VT_ORACLE
#include "../vethtrace.bpf.c"
