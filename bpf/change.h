/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel does to a packet under way that keeps its skb and changes the
 * words it is known by: GRO lets it grow, IP cuts it into fragments and puts
 * these together again. None of it is on the way of an ordinary packet.
 *
 * Of the fragments of a packet the one that came last goes on as the whole
 * (inet_frag_reasm_prepare morphs its skb); the others end there as merged,
 * without an event of their own. So they are chained. Where the packet had been
 * cut on its way, the whole goes on with the way it had come before. A
 * fragment's `ready` is
 *	source << 48 | tag << 32 | cut << 31 | entry of vt_fragments << 16 | the one before, plus 1
 * with 16 bits of the source's hash and 16 of the packet's, which its id is in.
 */
#ifndef VT_CHANGE_H
#define VT_CHANGE_H

#define VT_READY_CUT (1ULL << 31) /* it was cut from a packet whose journey is known: a copy */
#define VT_MOST_FRAGMENTS 48 /* 65535 bytes in an MTU of 1500 are 45; what is beyond is counted late */

/* What global functions look at: they may have neither an skb nor its addresses, but memory where these are. */
struct vt_look {
	__u64 network;
	__u64 stamp;
	__u32 length;
	__u16 segments;
	__u16 protocol;
};

static __always_inline void vt_look_at(struct sk_buff *skb, struct vt_look *look)
{
	look->network = (__u64)vt_network(skb);
	look->stamp = vt_get(skb, tstamp);
	look->length = vt_get(skb, len) - vt_link_header(skb);
	look->segments = vt_segments(skb);
	look->protocol = vt_get(skb, protocol);
}

/* Where a fragment belongs. */
struct vt_part {
	__u32 id;
	__u32 source; /* hash of the address */
	__u16 offset; /* not 0: not the first one */
	bool fragment;
	__u8 protocol;
};

VT_COLD void vt_read_part(unsigned char *network, bool ipv6, struct vt_part *part)
{
	unsigned char *at;
	struct tcphdr *fragment;
	struct ipv6hdr *ip6;
	__u64 source;

	if (!ipv6) {
		struct iphdr *ip = vt_cast(struct iphdr, network);

		part->id = vt_get(ip, id);
		part->protocol = vt_get(ip, protocol);
		part->offset = vt_get(ip, frag_off) & bpf_htons(VT_IP_OFFSET);
		part->fragment = vt_get(ip, frag_off) & bpf_htons(VT_IP_OFFSET | VT_IP_MORE);
		part->source = (vt_get(ip, saddr) * 0x9e3779b97f4a7c15ULL) >> 32;
		return;
	}
	ip6 = vt_cast(struct ipv6hdr, network);
	source = (vt_half(&ip6->saddr, 0) ^ vt_half(&ip6->saddr, 2)) * 0x9e3779b97f4a7c15ULL;
	part->source = source >> 32;
	part->protocol = vt_get(ip6, nexthdr);
	part->id = part->offset = part->fragment = 0;
	at = vt_skip_extensions(network + sizeof(*ip6), &part->protocol);
	if (part->protocol != VT_IPPROTO_FRAGMENT)
		return;
	/* next header, offset and identification lie where TCP has ports and sequence number */
	fragment = vt_cast(struct tcphdr, at);
	part->protocol = vt_byte(fragment);
	part->id = vt_get(fragment, seq);
	part->offset = vt_get(fragment, dest) & bpf_htons(VT_IPV6_OFFSET);
	part->fragment = vt_get(fragment, dest) & bpf_htons(VT_IPV6_OFFSET | VT_IPV6_MORE);
}

static __always_inline __u64 vt_part_hash(const struct vt_part *part)
{
	__u64 hash = ((__u64)part->source << 32 | part->id) ^ (__u64)part->protocol << 24;

	hash *= 0xff51afd7ed558ccdULL;
	return (hash ^ hash >> 32) * 0xc4ceb9fe1a85ec53ULL;
}

/* The upper half of a fragment's `ready`. The whole packet still shows its source; IPv6 no longer its id. */
static __always_inline __u32 vt_part_key(const struct vt_part *part, __u64 hash)
{
	return (part->source & ~0xffffU) | (hash & 0xffff);
}

/*
 * Where the fragment is that came last of the packet that this one belongs to;
 * -1: none is known. Global, as the next ones: the verifier looks at them once
 * per program.
 */
__noinline int vt_fellow(const struct vt_look *look, __u32 ipv6)
{
	struct vt_fragments *entry;
	struct vt_found found = {};
	struct vt_slot *slot;
	struct vt_part part;
	__u64 hash;

	if (!look)
		return -1;
	vt_read_part((unsigned char *)look->network, ipv6, &part);
	hash = vt_part_hash(&part);
	entry = &vt_fragments[hash >> 40 & (VT_FRAGMENTS - 1)];
	if (entry->tag != (__u32)hash || !entry->last)
		return -1;
	found.index = entry->last - 1;
	slot = vt_slot_of(found);
	if ((VT_READ_ONCE(*vt_owner_of(found)) & VT_STATE_MASK) != VT_STATE_LIVE || !(slot->flags & VT_FLAG_FRAGMENT))
		return -1;
	return (__u32)(slot->ready >> 32) == vt_part_key(&part, hash) ? found.index : -1;
}

/*
 * Chains a fragment to the others of its packet. What follows one that was cut
 * from a journey's packet was cut from it too; its bytes are counted with that.
 */
__noinline int vt_chain(const struct vt_look *look, __u32 index, __u64 cut)
{
	struct vt_found found = { .index = index };
	struct vt_slot *slot = vt_slot_of(found);
	struct vt_fragments *entry;
	struct vt_part part;
	__u64 hash, at;
	int fellow;

	if (!look)
		return 0;
	fellow = cut ? -1 : vt_fellow(look, slot->flags & VT_FLAG_IPV6);
	if (fellow >= 0) {
		found.index = fellow;
		cut = vt_slot_of(found)->ready & VT_READY_CUT;
		if (cut)
			slot->length = 0;
	}
	vt_read_part((unsigned char *)look->network, slot->flags & VT_FLAG_IPV6, &part);
	hash = vt_part_hash(&part);
	at = hash >> 40 & (VT_FRAGMENTS - 1);
	entry = &vt_fragments[at];
	if (entry->tag != (__u32)hash) {
		entry->last = 0;
		entry->tag = hash;
	}
	slot->flags |= VT_FLAG_FRAGMENT;
	slot->ready = (__u64)vt_part_key(&part, hash) << 32 | cut | at << 16 | (entry->last & 0xffff);
	entry->last = index + 1;
	return 0;
}

/*
 * Gives a journey the stamps of another one. All of them, without a look at how
 * many there are: code without branches is cheap to verify.
 */
static __always_inline void vt_copy_stamps(struct vt_slot *to, struct vt_slot *from, __u64 owner)
{
	__u64 generation = (__u64)vt_generation(owner) << 56;

	to->start = from->start;
	to->hash = from->hash;
	to->skew = from->skew;
	to->stamps = from->stamps;
#pragma unroll
	for (int i = 0; i < VT_STAMPS; i++)
		to->stamp[i] = (from->stamp[i] & ~(0xffULL << 56)) | generation;
	__builtin_memcpy(to->ifindex, from->ifindex, sizeof(to->ifindex));
	__builtin_memcpy(to->cpu, from->cpu, sizeof(to->cpu));
}

static __always_inline void vt_swap(__u16 *a, __u16 *b)
{
	__u16 was = *a;

	*a = *b;
	*b = was;
}

/*
 * What was cut off goes on as the whole: then with the way that the whole had
 * come. Whose the two journeys are is exchanged, so that each is still ended once.
 */
VT_COLD void vt_inherit(struct vt_slot *to, struct vt_slot *from, __u64 owner)
{
	vt_copy_stamps(to, from, owner);
	to->flags |= from->flags & VT_FLAG_NEW;
	vt_swap(&to->target[VT_INGRESS], &from->target[VT_INGRESS]);
	vt_swap(&to->target[VT_EGRESS], &from->target[VT_EGRESS]);
	vt_swap(&to->peer[VT_INGRESS], &from->peer[VT_INGRESS]);
	vt_swap(&to->peer[VT_EGRESS], &from->peer[VT_EGRESS]);
	to->length = from->length;
}

/*
 * One of the fragments of a packet that is whole again: it has become part of
 * another one. Returns the one before it, plus 1; 0: none, or none of these.
 */
__noinline int vt_merge_one(__u32 index, __u32 into, __u64 ready)
{
	struct vt_found found = { .index = index }, whole = { .index = into };
	struct vt_slot *slot = vt_slot_of(found), *goes_on = vt_slot_of(whole);
	int next = slot->ready & 0xffff;

	found.owner = VT_READ_ONCE(*vt_owner_of(found));
	if ((found.owner & VT_STATE_MASK) != VT_STATE_LIVE || !(slot->flags & VT_FLAG_FRAGMENT) ||
	    ((slot->ready ^ ready) & ~(0xffffULL | VT_READY_CUT)))
		return 0;
	if (index == into || !vt_seize(found))
		return next;
	if (!goes_on->length && slot->length)
		vt_inherit(goes_on, slot, VT_READ_ONCE(*vt_owner_of(whole)));
	vt_count(slot->target[VT_INGRESS], VT_INGRESS, merged, 1);
	vt_count(slot->target[VT_EGRESS], VT_EGRESS, merged, 1);
	vt_vacate(found);
	return next;
}

/* The others of a packet that is whole again have become part of this one. */
VT_COLD void vt_merge_fellows(__u32 index)
{
	struct vt_found found = { .index = index };
	__u64 ready = vt_slot_of(found)->ready;
	struct vt_fragments *entry = &vt_fragments[ready >> 16 & (VT_FRAGMENTS - 1)];
	int next = entry->last;

	if ((entry->tag ^ ready >> 32) & 0xffff) /* another packet has the entry now */
		return;
	entry->last = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < VT_MOST_FRAGMENTS; i++) {
		if (next <= 0)
			break;
		next = vt_merge_one(next - 1, index, ready);
	}
}

/* The hook that a journey passed last. */
static __always_inline __u32 vt_last_hook(struct vt_slot *slot)
{
	__u32 last = slot->stamps - 1;

	if (last >= VT_STAMPS)
		return VT_HOOK_NONE;
	barrier_var(last);
	if (last >= VT_STAMPS)
		return VT_HOOK_NONE;
	return (__u8)(slot->stamp[last] >> 48);
}

/*
 * A packet that GRO has let grow, at the device behind it: known by its birth
 * stamp it is the same one, and stands for more.
 */
static __always_inline void vt_grown(struct sk_buff *skb, struct vt_slot *slot)
{
	__u32 before = slot->stamps - 2;
	__u16 segments;

	if (!cfg_gro || slot->segments > 1 || before >= VT_STAMPS)
		return;
	barrier_var(before);
	if (before >= VT_STAMPS || (__u8)(slot->stamp[before] >> 48) != VT_HOOK_GRO_RECEIVE)
		return;
	segments = vt_segments(skb);
	if (segments <= 1)
		return;
	slot->segments = segments;
	slot->length = vt_get(skb, len) - vt_link_header(skb);
}

/*
 * A packet whose words are not those of its slot: is it the same one, changed
 * by the kernel? Then the slot learns the new words.
 */
__noinline int vt_changed(const struct vt_look *look, __u32 index)
{
	struct vt_found found = { .index = index };
	struct vt_slot *slot = vt_slot_of(found);
	bool ipv6 = slot->flags & VT_FLAG_IPV6;
	__u64 first, ident, differs, length = ipv6 ? 0xffffULL << 32 : 0xffffULL << 16;
	unsigned char *network;
	struct vt_part part;

	if (!look || look->protocol != (ipv6 ? bpf_htons(VT_ETH_P_IPV6) : bpf_htons(VT_ETH_P_IP)))
		return false;
	if (slot->birth && look->stamp && look->stamp != slot->birth)
		return false;
	network = (unsigned char *)look->network;
	first = vt_word(network);
	ident = vt_ident_of(first, network, ipv6, slot->protocol);
	differs = ident ^ slot->ident;
	if (look->segments > 1 && !(differs & ~length) && vt_last_hook(slot) == VT_HOOK_GRO_RECEIVE) {
		slot->segments = look->segments;
		goto changed;
	}
	vt_read_part(network, ipv6, &part);
	if (part.protocol != slot->protocol)
		return false;
	/* the id, IPv6: the flow label; what stands where TCP has its numbers is another thing in a fragment */
	if (slot->protocol != VT_IPPROTO_TCP && (ipv6 ? (__u32)differs : (__u16)(differs >> 32)))
		return false;
	if (slot->flags & VT_FLAG_FRAGMENT) {
		if (part.fragment || (__u16)(slot->ready >> 48) != part.source >> 16)
			return false;
		vt_merge_fellows(index);
		slot->flags &= ~VT_FLAG_FRAGMENT;
		slot->ready = 0;
		goto changed;
	}
	/* the first fragment keeps the skb, and stands for the bytes of all */
	if (!part.fragment || part.offset)
		return false;
	slot->ident = ident;
	vt_chain(look, index, VT_READY_CUT);
	return true;
changed:
	slot->ident = ident;
	slot->length = look->length;
	return true;
}

#endif
