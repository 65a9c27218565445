/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The oracle: does each stamp go to the packet that it belongs to? Test traffic
 * carries a number in the first eight bytes of its UDP payload. It is read when
 * a journey begins, and compared each time that a hook takes a packet for the
 * one of that journey. Slow, and no part of the product's object.
 */
#ifndef VT_ORACLE_H
#define VT_ORACLE_H

/*
 * The positive control: identity is not looked at and every eighth end is
 * forgotten, so that slots are left to packets that have gone. The oracle must see it.
 */
volatile const bool oracle_blind = false;

/* The number that a slot's journey began with; 0: none. Writer: starts; reader: every hook. */
__u64 oracle_number[VT_SLOTS];

/* What was found. Writer: every hook, by atomic additions; reader: Go. */
__u64 oracle_began; /* journeys of packets with a number */
__u64 oracle_matched; /* stamps of the packet that the journey began with */
__u64 oracle_wrong; /* stamps of another one */
__u64 oracle_ends; /* ends come by, in the positive control */

/* The number of a packet; 0: it has none. */
static __always_inline __u64 vt_oracle_read(const struct sk_buff *skb)
{
	unsigned char *network = vt_network(skb);
	__u64 first = vt_word(network);

	if (skb->protocol != bpf_htons(VT_ETH_P_IP) || (__u8)(vt_word(network + 8) >> 8) != VT_IPPROTO_UDP)
		return 0;
	return vt_word(network + vt_header(first, false) + sizeof(struct udphdr));
}

static __always_inline void vt_oracle_began(const struct sk_buff *skb, __u32 index)
{
	__u64 number = vt_oracle_read(skb);

	oracle_number[index & (VT_SLOTS - 1)] = number;
	if (number)
		__sync_fetch_and_add(&oracle_began, 1);
}

static __always_inline void vt_oracle_met(const struct sk_buff *skb, __u32 index)
{
	__u64 number = oracle_number[index & (VT_SLOTS - 1)];

	if (!number)
		return;
	if (vt_oracle_read(skb) == number)
		__sync_fetch_and_add(&oracle_matched, 1);
	else
		__sync_fetch_and_add(&oracle_wrong, 1);
}

static __always_inline bool vt_oracle_forgets(void)
{
	return oracle_blind && !(__sync_fetch_and_add(&oracle_ends, 1) & 7);
}

#endif
