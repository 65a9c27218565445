/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a packet is recognised and read. No helper is called: all are plain loads. */
#ifndef VT_PACKET_H
#define VT_PACKET_H

/* The addresses and ports of a packet, as they are at this hook. */
struct vt_packet {
	__u64 source_high, source_low;
	__u64 target_high, target_low;
	__u16 source_port, target_port; /* host byte order; ICMP: the echo's identifier in both; 0 without ports */
	__u16 length; /* bytes of IP and above of a packet on the wire */
	__u8 protocol;
	bool ipv6;
};

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
	return skb->head + skb->network_header;
}

/* Bytes between skb->data and the network header: those of the link layer, at hooks where they are there. */
static __always_inline __u32 vt_link_header(const struct sk_buff *skb)
{
	__u64 bytes = (__u64)vt_network(skb) - (__u64)skb->data;

	barrier_var(bytes); /* pointers may be subtracted in 64 bits only */
	return bytes;
}

/*
 * Words of a packet that neither NAT nor forwarding touches: IP length and id
 * (IPv6: payload length and next header) and, for TCP, the sequence number.
 * `protocol` comes from the slot, so that nothing has to be decided twice.
 */
static __always_inline __u64 vt_ident(const struct sk_buff *skb, bool ipv6, __u8 protocol)
{
	unsigned char *network = vt_network(skb);
	__u64 ident;

	if (!ipv6) {
		struct iphdr *ip = vt_cast(struct iphdr, network);

		ident = (__u64)ip->tot_len << 16 | ip->id;
		if (protocol == VT_IPPROTO_TCP) {
			__u32 header = (*(__u8 *)ip & 15) * 4;

			ident |= (__u64)vt_cast(struct tcphdr, network + header)->seq << 32;
		}
		return ident;
	}
	ident = vt_cast(struct ipv6hdr, network)->payload_len;
	if (protocol == VT_IPPROTO_TCP)
		ident |= (__u64)vt_cast(struct tcphdr, network + sizeof(struct ipv6hdr))->seq << 32;
	return ident;
}

/* When this kernel's TCP sent the packet; 0 where that is not known. */
static __always_inline __u64 vt_birth(struct sk_buff *skb)
{
	if (!bpf_core_field_exists(skb->tstamp_type))
		return 0;
	if (BPF_CORE_READ_BITFIELD(skb, tstamp_type) != VT_TSTAMP_MONOTONIC)
		return 0;
	return skb->tstamp;
}

static __always_inline void vt_parse_ports(struct vt_packet *packet, unsigned char *transport)
{
	struct udphdr *ports;

	switch (packet->protocol) {
	case VT_IPPROTO_TCP:
	case VT_IPPROTO_UDP:
		/* the ports are the first four bytes of both */
		ports = vt_cast(struct udphdr, transport);
		packet->source_port = bpf_ntohs(ports->source);
		packet->target_port = bpf_ntohs(ports->dest);
		break;
	case VT_IPPROTO_ICMP:
	case VT_IPPROTO_ICMPV6:
		/* type, code, checksum, identifier: the identifier stands where a UDP length does */
		ports = vt_cast(struct udphdr, transport);
		packet->source_port = packet->target_port = bpf_ntohs(ports->len);
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
		*next = option->nexthdr;
		at += (option->hdrlen + 1) * 8;
	}
	return at;
}

static __always_inline __u64 vt_half(struct in6_addr *address, int word)
{
	return (__u64)address->in6_u.u6_addr32[word + 1] << 32 | address->in6_u.u6_addr32[word];
}

/* The part of vt_parse() for IPv6. Not inlined: programs are small where most packets pass. */
VT_COLD void vt_parse_ipv6(const struct sk_buff *skb, struct vt_packet *packet)
{
	unsigned char *network = vt_network(skb);
	struct ipv6hdr *ip = vt_cast(struct ipv6hdr, network);

	packet->ipv6 = true;
	packet->source_high = vt_half(&ip->saddr, 0);
	packet->source_low = vt_half(&ip->saddr, 2);
	packet->target_high = vt_half(&ip->daddr, 0);
	packet->target_low = vt_half(&ip->daddr, 2);
	packet->protocol = ip->nexthdr;
	packet->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	vt_parse_ports(packet, vt_skip_extensions(network + sizeof(*ip), &packet->protocol));
}

/* Reads addresses and ports; false when the packet is not IP. */
static __always_inline bool vt_parse(const struct sk_buff *skb, struct vt_packet *packet)
{
	unsigned char *network;
	struct iphdr *ip;

	packet->source_port = packet->target_port = 0;
	if (VT_UNLIKELY(skb->protocol != bpf_htons(VT_ETH_P_IP))) {
		if (skb->protocol != bpf_htons(VT_ETH_P_IPV6))
			return false;
		vt_parse_ipv6(skb, packet);
		return true;
	}
	network = vt_network(skb);
	ip = vt_cast(struct iphdr, network);
	packet->ipv6 = false;
	packet->source_high = packet->target_high = 0;
	packet->source_low = 0xffffULL << 32 | ip->saddr;
	packet->target_low = 0xffffULL << 32 | ip->daddr;
	packet->protocol = ip->protocol;
	packet->length = bpf_ntohs(ip->tot_len);
	if (!(ip->frag_off & bpf_htons(0x1fff))) /* ports are in the first fragment only */
		vt_parse_ports(packet, network + (*(__u8 *)ip & 15) * 4);
	return true;
}

/* Reads only what a journey needs to know of its packet; all where a filter looks at it. */
static __always_inline bool vt_parse_brief(const struct sk_buff *skb, struct vt_packet *packet)
{
	if (cfg_filter_protocol || cfg_filter_port || cfg_filter_peer ||
	    VT_UNLIKELY(skb->protocol != bpf_htons(VT_ETH_P_IP)))
		return vt_parse(skb, packet);
	packet->ipv6 = false;
	packet->protocol = vt_cast(struct iphdr, vt_network(skb))->protocol;
	return true;
}

#endif
