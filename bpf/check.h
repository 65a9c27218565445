/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VT_CHECK_H
#define VT_CHECK_H

/* The test object's check (oracle/oracle.h); the product's has none. */
#ifdef VT_ORACLE
#include "oracle/oracle.h"
#else
#define oracle_blind false
#define vt_oracle_began(skb, index) \
	do {                        \
	} while (0)
#define vt_oracle_met(skb, index) \
	do {                      \
	} while (0)
#define vt_oracle_forgets() false
#endif

#endif
