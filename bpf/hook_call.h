/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Functions of the kernel that a packet enters and leaves, as calls beside its
 * stamps. One program for all of them: what to do where, the attachment's cookie
 * says. There is one for each interface that a kernel may have; Go takes the
 * first that works.
 */
#ifndef VT_HOOK_CALL_H
#define VT_HOOK_CALL_H

/* A cookie; tracer/function/cookie.go makes it. */
#define VT_COOKIE_FUNCTION(cookie) ((cookie) & 0x7f)
#define VT_COOKIE_RETURNS(cookie) ((cookie) >> 7 & 1) /* returns are wanted */
#define VT_COOKIE_ARGUMENT(cookie) ((cookie) >> 8 & 15) /* position of the one that leads to the packet */
#define VT_COOKIE_KIND(cookie) ((cookie) >> 12 & 15)
#define VT_COOKIE_OFFSET(cookie) ((cookie) >> 16 & 0xffff) /* of the member that does */
#define VT_COOKIE_TABLE(cookie) ((cookie) >> 32 & 15) /* position of a struct xt_table plus 1, 0 none */
#define VT_COOKIE_NAME(cookie) ((cookie) >> 40 & 0xffff) /* offset of its name */

enum vt_kind {
	VT_KIND_SKB = 0, /* struct sk_buff * */
	VT_KIND_MEMBER = 1, /* a struct that has one */
	VT_KIND_POLL = 2, /* no packet: a softirq begins to work */
};

extern __u64 *bpf_session_cookie(void) __ksym __weak;
extern bool bpf_session_is_return(void) __ksym __weak;

/* The registers of a call, as the context of a kprobe is laid out. */
struct vt_registers {
#if defined(__TARGET_ARCH_arm64)
	__u64 x[8];
#else
	__u64 unused[8]; /* r15 r14 r13 r12 bp bx r11 r10 */
	__u64 r9, r8, ax, cx, dx, si, di;
#endif
};

#if defined(__TARGET_ARCH_arm64)
#define VT_REGISTER(at, x86) x[at]
#else
#define VT_REGISTER(at, x86) x86
#endif

/* One register: written out, as the compiler would add a variable to the context's address, which the verifier refuses. */
#define VT_READ(regs, at, x86)                                                                                 \
	({                                                                                                     \
		__u64 value;                                                                                   \
		asm volatile("%0 = *(u64 *)(%1 + %2)"                                                          \
			     : "=r"(value)                                                                     \
			     : "r"(regs), "i"(__builtin_offsetof(struct vt_registers, VT_REGISTER(at, x86)))); \
		value;                                                                                         \
	})

static __always_inline __u64 vt_argument(const struct vt_registers *regs, __u32 at)
{
	switch (at) {
	case 0:
		return VT_READ(regs, 0, di);
	case 1:
		return VT_READ(regs, 1, si);
	case 2:
		return VT_READ(regs, 2, dx);
	case 3:
		return VT_READ(regs, 3, cx);
	case 4:
		return VT_READ(regs, 4, r8);
	case 5:
		return VT_READ(regs, 5, r9);
	}
	return 0;
}

/* Adds a call to those of a journey. False where there is no room. */
static __always_inline bool vt_add_call(struct vt_calls *calls, __u64 call)
{
	__u32 at = calls->count;

	if (at >= VT_CALLS)
		return false;
	barrier_var(at);
	if (at >= VT_CALLS)
		return false;
	calls->call[at] = call;
	calls->count = at + 1;
	return true;
}

/* The time of the last stamp or call of a journey. */
static __always_inline __u64 vt_last_time(struct vt_slot *slot, struct vt_calls *calls)
{
	__u64 last = vt_time_of(slot, slot->stamps - 1), call;
	__u32 at = calls->count - 1;

	if (at >= VT_CALLS)
		return last;
	barrier_var(at);
	if (at >= VT_CALLS)
		return last;
	call = calls->call[at] & VT_TIME_MASK;
	return vt_span(last, call) >> 47 ? last : call;
}

/* A softirq that began after the packet's last stamp is what has taken it up. */
static __always_inline void vt_add_poll(struct vt_slot *slot, struct vt_calls *calls, struct vt_global *global)
{
	__u64 poll = global->poll;
	__u64 time = (poll - slot->skew) & VT_TIME_MASK;

	if (!poll || vt_span(vt_last_time(slot, calls), time) >> 47)
		return;
	vt_add_call(calls, VT_CALL(slot->stamps, poll >> 48 & 0x7f, time));
}

/* The calls of a journey; those of an earlier one in its slot are forgotten. */
static __always_inline struct vt_calls *vt_calls_of(struct vt_found found)
{
	__u32 index = found.index;
	struct vt_calls *calls = bpf_map_lookup_elem(&vt_calls, &index);

	if (calls && calls->owner != found.owner) {
		calls->owner = found.owner;
		calls->count = 0;
	}
	return calls;
}

/*
 * A packet enters a function. Returns its journey's owner word, 0 where it has
 * none. Nothing here judges whether a journey is over: inside functions packets
 * may look as they do at no hook.
 */
static __always_inline __u64 vt_entered(__u64 address, __u32 function)
{
	struct sk_buff *skb = vt_cast(struct sk_buff, address);
	struct vt_found found = vt_find(vt_key(skb), VT_STATE_LIVE);
	struct vt_global *global;
	struct vt_calls *calls;
	struct vt_slot *slot;
	__u64 now;

	if (!found.owner)
		return 0;
	slot = vt_slot_of(found);
	if (!vt_same(slot, skb))
		return 0;
	calls = vt_calls_of(found);
	global = vt_global_of();
	if (!calls || !global)
		return 0;
	now = bpf_ktime_get_ns();
	vt_add_poll(slot, calls, global);
	if (!vt_add_call(calls, VT_CALL(slot->stamps, function, now - slot->skew)))
		global->calls_lost++;
	calls->cpu = bpf_get_smp_processor_id();
	return found.owner;
}

/* The last of these calls; 0: none. */
static __always_inline __u64 vt_last_call(struct vt_calls *calls)
{
	__u32 at = calls->count - 1;

	if (at >= VT_CALLS)
		return 0;
	barrier_var(at);
	if (at >= VT_CALLS)
		return 0;
	return calls->call[at];
}

/*
 * A function returns that a journey's packet had entered: it may be gone, or
 * another CPU may have it. Only in the hop of its last call, and on the CPU of
 * that, is the return part of the packet's way.
 */
static __always_inline void vt_returned(struct vt_found found, __u32 function)
{
	__u32 index = found.index;
	struct vt_calls *calls;
	struct vt_slot *slot;

	if (!found.owner)
		return;
	slot = vt_slot_of(found);
	calls = bpf_map_lookup_elem(&vt_calls, &index);
	if (!calls || calls->owner != found.owner || calls->cpu != bpf_get_smp_processor_id() ||
	    vt_last_call(calls) >> 56 != slot->stamps)
		return;
	if (!vt_add_call(calls, VT_CALL(slot->stamps, function | VT_RETURN, bpf_ktime_get_ns() - slot->skew)))
		vt_note(calls_lost);
}

/* The journey with this owner word, if it is still under way. */
static __always_inline struct vt_found vt_still(__u64 owner)
{
	struct vt_found found = vt_find(owner & ~(VT_GENERATION_MASK | VT_STATE_MASK), VT_STATE_LIVE);

	if (found.owner != owner)
		found.owner = 0;
	return found;
}

/* A softirq begins or ends to work on this CPU. */
static __always_inline void vt_polls(__u32 function, bool begins)
{
	struct vt_global *global = vt_global_of();

	if (global)
		global->poll = begins ? VT_CALL(0, function, bpf_ktime_get_ns()) : 0;
}

/* The address of the packet that an argument leads to. */
static __always_inline __u64 vt_address_of(__u64 argument, __u64 cookie)
{
	if (VT_COOKIE_KIND(cookie) == VT_KIND_MEMBER)
		return vt_word((void *)(argument + VT_COOKIE_OFFSET(cookie)));
	return argument;
}

/* ipt_do_table: its number and that of the table, by the beginning of the name; struct xt_table has it inside. */
static __always_inline __u32 vt_table_of(__u32 function, __u64 table, __u64 cookie)
{
	switch ((__u32)vt_word((void *)(table + VT_COOKIE_NAME(cookie)))) {
	case 0x00776172: /* raw */
		return function + 1;
	case 0x676e616d: /* mangle */
		return function + 2;
	case 0x0074616e: /* nat */
		return function + 3;
	case 0x746c6966: /* filter */
		return function + 4;
	case 0x75636573: /* security */
		return function + 5;
	}
	return function;
}

static __always_inline __u64 vt_enter_by_registers(struct vt_registers *regs, __u64 cookie)
{
	__u32 function = VT_COOKIE_FUNCTION(cookie);

	if (VT_COOKIE_TABLE(cookie))
		function = vt_table_of(function, vt_argument(regs, VT_COOKIE_TABLE(cookie) - 1), cookie);
	return vt_entered(vt_address_of(vt_argument(regs, VT_COOKIE_ARGUMENT(cookie)), cookie), function);
}

#ifndef VT_FALLBACK /* no kernel with sessions lacks what it needs */
/* Entry and return of any number of functions. Tells whether it wants the return. */
SEC("kprobe.session")
int vt_call_session(struct vt_registers *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx), *owner = bpf_session_cookie();
	__u32 function = VT_COOKIE_FUNCTION(cookie);

	if (VT_COOKIE_KIND(cookie) == VT_KIND_POLL) {
		vt_polls(function, !bpf_session_is_return());
		return 0;
	}
	if (bpf_session_is_return()) {
		vt_returned(vt_still(*owner), function);
		return 0;
	}
	*owner = vt_enter_by_registers(ctx, cookie);
	return !(*owner && VT_COOKIE_RETURNS(cookie));
}
#endif

/* Entries of any number of functions. */
SEC("kprobe.multi")
int vt_call_multi(struct vt_registers *ctx)
{
	vt_enter_by_registers(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

/* Entries of one function. */
SEC("kprobe")
int vt_call_kprobe(struct vt_registers *ctx)
{
	vt_enter_by_registers(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

/* The same by a trampoline. Which function it is loaded for, Go says. */
SEC("fentry/process_backlog")
int vt_call_enter(__u64 *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx), argument = 0, table = 0;
	__u32 function = VT_COOKIE_FUNCTION(cookie);

	if (VT_COOKIE_KIND(cookie) == VT_KIND_POLL) {
		vt_polls(function, true);
		return 0;
	}
	bpf_get_func_arg(ctx, VT_COOKIE_ARGUMENT(cookie), &argument);
	if (VT_COOKIE_TABLE(cookie)) {
		bpf_get_func_arg(ctx, VT_COOKIE_TABLE(cookie) - 1, &table);
		function = vt_table_of(function, table, cookie);
	}
	vt_entered(vt_address_of(argument, cookie), function);
	return 0;
}

/* And its return. The packet may be gone: its address alone is asked. */
SEC("fexit/process_backlog")
int vt_call_leave(__u64 *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx), argument = 0;

	if (VT_COOKIE_KIND(cookie) == VT_KIND_POLL) {
		vt_polls(VT_COOKIE_FUNCTION(cookie), false);
		return 0;
	}
	bpf_get_func_arg(ctx, VT_COOKIE_ARGUMENT(cookie), &argument);
	argument = vt_address_of(argument, cookie);
	vt_returned(vt_find(vt_key(vt_cast(struct sk_buff, argument)), VT_STATE_LIVE), VT_COOKIE_FUNCTION(cookie));
	return 0;
}

#endif
