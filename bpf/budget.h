/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What budget mode has to know: how often our programs run. */
#ifndef VT_BUDGET_H
#define VT_BUDGET_H

/* Counts a run of a program at a hook of this type, whether it finds a journey or not. */
static __always_inline void vt_run(__u32 type)
{
	if (cfg_budget)
		vt_runs[bpf_get_smp_processor_id() & (VT_CPUS - 1)].runs[type]++;
}

#endif
