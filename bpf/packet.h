/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a packet is recognised and read. No helper is called: all are loads. */
#ifndef VT_PACKET_H
#define VT_PACKET_H

/* The addresses and ports of a packet, as they are at this hook. */
struct vt_packet {
	__u64 first; /* the first eight bytes of the IP header */
	__u64 source_high, source_low;
	__u64 target_high, target_low;
	__u16 source_port, target_port; /* host byte order; ICMP: the echo's identifier in both; 0 without ports */
	__u8 protocol;
	bool ipv6;
	bool cut; /* IPv6 only: a fragment, see vt_is_fragment() */
};

#ifndef VT_FALLBACK /* which has its own in fallback.h */
/*
 * A number for a pointer: its distance from vt_base. Only a privileged program
 * may subtract pointers, and the compiler would turn this into something the
 * verifier refuses, so it is written out.
 */
static __always_inline __u64 vt_number(const void *pointer)
{
	__u64 number = (__u64)pointer;
	void *base = vt_base;

	asm volatile("%0 -= %1" : "+r"(number) : "r"(base));
	return number;
}
#endif

/*
 * What an owner word begins with. Structs of the kernel lie at multiples of 8,
 * so the low 19 bits are free for generation and state; 2^45 distinct numbers
 * are more than any machine has memory.
 */
static __always_inline __u64 vt_key(const struct sk_buff *skb)
{
	return vt_number(skb) << 16;
}

static __always_inline unsigned char *vt_network(const struct sk_buff *skb)
{
	__u32 offset = vt_get(skb, network_header);

	/* not known yet where a driver without GRO hands a packet to netif_receive_skb: it begins there */
	return VT_LIKELY(offset) ? vt_get(skb, head) + offset : vt_get(skb, data);
}

/*
 * The eight bytes at any address of the kernel's, the first in the lowest
 * byte. Reading what the verifier does not know costs about 45 bytes of
 * machine code for each load, so headers are read in words and not by field.
 */
static __always_inline __u64 vt_word(const void *address)
{
	return vt_get(vt_cast(struct timespec64, address), tv_sec);
}

/* Bytes of the IP header that ends before the transport header, from its first word. */
static __always_inline __u32 vt_header(__u64 first, bool ipv6)
{
	return ipv6 ? sizeof(struct ipv6hdr) : (first & 15) * 4;
}

/* Packets on the wire that this one stands for, or will be cut into. */
static __always_inline __u16 vt_segments(struct sk_buff *skb)
{
	struct skb_shared_info *shared = vt_cast(struct skb_shared_info, vt_get(skb, head) + vt_get(skb, end));
	__u16 segments = vt_get(shared, gso_segs);

	return segments ? segments : 1;
}

/* Bytes between skb->data and the network header: those of the link layer, at hooks where they are there. */
static __always_inline __u32 vt_link_header(const struct sk_buff *skb)
{
	__u64 bytes = (__u64)vt_network(skb) - (__u64)vt_get(skb, data);

	barrier_var(bytes); /* pointers may be subtracted in 64 bits only */
	return bytes;
}

/*
 * What identifies a packet: those of its words that neither NAT nor forwarding
 * touches. IPv4: the first eight bytes but for the type of service (length, id,
 * fragment); IPv6: those but for traffic class and hop limit (flow label,
 * length, next header); TCP: the sequence and acknowledgement numbers besides.
 */
#define VT_IDENT_IPV4 0xffffffffffff00ffULL
#define VT_IDENT_IPV6 0x00ffffffffff0ff0ULL

static __always_inline __u64 vt_ident_of(__u64 first, const unsigned char *network, bool ipv6, __u8 protocol)
{
	__u64 ident = first & (ipv6 ? VT_IDENT_IPV6 : VT_IDENT_IPV4);

	if (protocol == VT_IPPROTO_TCP)
		ident ^= vt_word(network + vt_header(first, ipv6) + 4);
	return ident;
}

/* A part of a packet that was cut; ports are in the first one only. */
static __always_inline bool vt_is_fragment(const struct vt_packet *packet)
{
	return packet->ipv6 ? packet->cut : packet->first >> 48 & bpf_htons(VT_IP_OFFSET | VT_IP_MORE);
}

/* The same of a packet under way. `protocol` comes from the slot, so that nothing has to be decided twice. */
static __always_inline __u64 vt_ident(const struct sk_buff *skb, bool ipv6, __u8 protocol)
{
	unsigned char *network = vt_network(skb);

	return vt_ident_of(vt_word(network), network, ipv6, protocol);
}

#ifndef VT_FALLBACK
/* When this kernel's TCP sent the packet; 0 where that is not known. */
static __always_inline __u64 vt_birth(struct sk_buff *skb)
{
	if (!bpf_core_field_exists(skb->tstamp_type))
		return 0;
	if (BPF_CORE_READ_BITFIELD(skb, tstamp_type) != VT_TSTAMP_MONOTONIC)
		return 0;
	return vt_get(skb, tstamp);
}
#endif

/* `ports`: the first four bytes of the transport header, in memory's order. */
static __always_inline void vt_parse_ports(struct vt_packet *packet, __u32 ports, const unsigned char *transport)
{
	switch (packet->protocol) {
	case VT_IPPROTO_TCP:
	case VT_IPPROTO_UDP:
		packet->source_port = bpf_ntohs((__u16)ports);
		packet->target_port = bpf_ntohs(ports >> 16);
		break;
	case VT_IPPROTO_ICMP:
	case VT_IPPROTO_ICMPV6:
		/* type, code, checksum, identifier */
		packet->source_port = packet->target_port = bpf_ntohs((__u16)(vt_word(transport) >> 32));
		break;
	}
}

/* Skips the extension headers of IPv6 that may stand before the transport header. */
static __always_inline unsigned char *vt_skip_extensions(unsigned char *at, __u8 *next)
{
	for (int i = 0; i < 4; i++) {
		struct ipv6_opt_hdr *option = vt_cast(struct ipv6_opt_hdr, at);

		if (*next != 0 && *next != 43 && *next != 60) /* hop-by-hop, routing, destination options */
			break;
		*next = vt_get(option, nexthdr);
		at += (vt_get(option, hdrlen) + 1) * 8;
	}
	return at;
}

static __always_inline __u64 vt_half(struct in6_addr *address, int word)
{
	return (__u64)vt_get(address, in6_u.u6_addr32[word + 1]) << 32 | vt_get(address, in6_u.u6_addr32[word]);
}

/* The part of vt_parse() for IPv6. Not inlined: programs are small where most packets pass. */
VT_COLD void vt_parse_ipv6(const struct sk_buff *skb, struct vt_packet *packet)
{
	unsigned char *network = vt_network(skb), *transport;
	struct ipv6hdr *ip = vt_cast(struct ipv6hdr, network);

	packet->ipv6 = true;
	packet->first = vt_word(network);
	packet->source_high = vt_half(&ip->saddr, 0);
	packet->source_low = vt_half(&ip->saddr, 2);
	packet->target_high = vt_half(&ip->daddr, 0);
	packet->target_low = vt_half(&ip->daddr, 2);
	packet->protocol = vt_get(ip, nexthdr);
	packet->cut = false;
	transport = vt_skip_extensions(network + sizeof(*ip), &packet->protocol);
	if (packet->protocol == VT_IPPROTO_FRAGMENT) {
		__u64 fragment = vt_word(transport); /* next header, reserved, offset, identification */

		packet->protocol = fragment;
		packet->cut = fragment >> 16 & bpf_htons(VT_IPV6_OFFSET | VT_IPV6_MORE);
		if (fragment >> 16 & bpf_htons(VT_IPV6_OFFSET))
			return;
		transport += sizeof(fragment);
	}
	vt_parse_ports(packet, vt_word(transport), transport);
}

/* Reads addresses and ports; false when the packet is not IP. */
static __always_inline bool vt_parse(const struct sk_buff *skb, struct vt_packet *packet)
{
	unsigned char *network, *transport;
	__u64 second, third;
	__u32 ports;

	packet->source_port = packet->target_port = 0;
	if (VT_UNLIKELY(vt_get(skb, protocol) != bpf_htons(VT_ETH_P_IP))) {
		if (vt_get(skb, protocol) != bpf_htons(VT_ETH_P_IPV6))
			return false;
		vt_parse_ipv6(skb, packet);
		return true;
	}
	network = vt_network(skb);
	packet->first = vt_word(network);
	second = vt_word(network + 8); /* time to live, protocol, checksum, source */
	third = vt_word(network + 16); /* destination, and behind a header without options the ports */
	packet->ipv6 = false;
	packet->source_high = packet->target_high = 0;
	packet->source_low = 0xffffULL << 32 | second >> 32;
	packet->target_low = 0xffffULL << 32 | (__u32)third;
	packet->protocol = second >> 8;
	if (packet->first >> 48 & bpf_htons(VT_IP_OFFSET)) /* ports are in the first fragment only */
		return true;
	transport = network + vt_header(packet->first, false);
	ports = third >> 32;
	if (VT_UNLIKELY((packet->first & 15) != 5))
		ports = vt_word(transport);
	vt_parse_ports(packet, ports, transport);
	return true;
}

/* Reads only what a journey needs to know of its packet; all where a filter looks at it. */
static __always_inline bool vt_parse_brief(const struct sk_buff *skb, struct vt_packet *packet)
{
	unsigned char *network;

	if (cfg_filter_protocol || cfg_filter_port || cfg_filter_peer ||
	    VT_UNLIKELY(vt_get(skb, protocol) != bpf_htons(VT_ETH_P_IP)))
		return vt_parse(skb, packet);
	network = vt_network(skb);
	packet->ipv6 = false;
	packet->first = vt_word(network);
	packet->protocol = vt_word(network + 8) >> 8;
	return true;
}

#endif
