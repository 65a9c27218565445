// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"regexp"
)

// mainArch is the architecture of the machines that run guests, and of most guests.
const mainArch = "amd64"

// Kernel is a row of THE list of kernels.
type Kernel struct {
	Name   string // as users say it: 6.12
	Arch   string // as Debian and Go name it; "": amd64
	Suite  string // of Debian, that has its packages
	Image  string // regular expression that the version in the package's name matches; the newest one is taken
	Users  string // who runs it
	Works  bool   // the default detail is expected to work: doctor's exit status is 0, else 3
	Main   bool   // it is expected to load all programs of the main object, but some of functions
	Groups []string
	Note   string   // what readers of the list have to know; "": nothing
	InTest []string // what "make test" runs of them: a group, or GROUP:TEST,... with parts of tests as in TestOrderOfHops/veth
}

// Kernels is THE list of kernels: what "make vm" runs in guests, what it expects
// of each, and the columns of docs/kernels.md. To expect more of a kernel, add
// names of Groups to its row.
func Kernels() []Kernel {
	return []Kernel{
		{
			Name: "5.10", Suite: "bullseye-security", Image: `5\.10\.\d+-\d+`, Users: "Debian 11; best effort",
			Note: "before Linux 5.12 BPF programs cannot compare and swap, by which CPUs agree whose a slot is: each program that touches " +
				"journeys is refused before the verifier looks at its first instruction. Nothing small helps: the lock that BPF has instead " +
				"(`bpf_spin_lock`) is not for programs at tracepoints and functions. Maps are no obstacle: where a map's value may have 4 MiB (before 6.0), " +
				"variables are laid out with fewer slots.",
		},
		{
			Name: "6.1", Suite: "bookworm-security", Image: `6\.1\.\d+-\d+`, Users: "Debian 12, Amazon Linux 2023", Works: true,
			Groups: []string{"histogram", "hooks", "hops", "ways", "accounting", "rules", "functions", "engine"},
			InTest: []string{"histogram", "hops:TestOrderOfHops/veth/hooks/tcx,TestOrderOfHops/veth/hooks/tracepoint", "functions:TestFunctionProviders/fentry"},
		},
		{
			Name: "6.12", Suite: "bookworm-security", Image: `6\.12\.\d+\+deb12`, Users: "Debian 13, Amazon Linux 2023, RHEL 10", Works: true, Main: true,
			Groups: []string{"histogram", "journeys", "hooks", "hops", "ways", "accounting", "rules", "functions", "agreement", "doctor", "engine", "worlds"},
			InTest: []string{"journeys", "accounting", "functions:TestFunctions", "doctor"},
		},
		{
			Name: "6.18", Suite: "trixie-backports", Image: `6\.18\.\d+\+deb13`, Users: "long-term support", Works: true, Main: true,
			Groups: []string{"histogram", "journeys", "hooks", "hops", "accounting", "functions", "doctor"},
		},
		{
			Name: "7.3", Suite: "trixie-backports", Image: `7\.3\.\d+\+deb13`, Users: "the newest", Works: true, Main: true,
			Groups: []string{"histogram", "journeys", "hooks", "hops", "accounting", "functions", "doctor"},
		},
		{ // run by "make vm" only; without programs of this machine, which are of another architecture
			Name: "6.12-arm64", Arch: "arm64", Suite: "bookworm-security", Image: `6\.12\.\d+\+deb12`, Users: "the same on arm64", Works: true, Main: true,
			Groups: []string{"histogram", "journeys"},
		},
	}
}

// arch is the kernel's architecture.
func (k Kernel) arch() string { return cmp.Or(k.Arch, mainArch) }

// imagePattern matches the names of the packages of a kernel's images.
func (k Kernel) imagePattern() (*regexp.Regexp, error) {
	return regexp.Compile(`^linux-image-(` + k.Image + `-cloud-` + k.arch() + `)$`)
}

// Group is a set of tests of one package. Each of them has to run, and to pass.
type Group struct {
	Name     string
	Package  string // below the module's root
	Tests    []string
	Programs []string // of this machine that they run, besides those that every guest has
	What     string   // that they hold
}

// Groups are the sets of tests that run in guests.
func Groups() []Group {
	return []Group{
		{Name: "histogram", Package: "bpf", Tests: []string{"TestHistogramRule"}, What: "durations fall into the same buckets in the kernel as in Go"},
		{
			Name: "journeys", Package: "bpf", Tests: []string{"TestSizes", "TestSlotsAreClaimedOnce", "TestFold"},
			What: "a journey's slot is claimed once; functions are told apart as by a second implementation",
		},
		{
			Name: "hooks", Package: "tracer", Tests: []string{"TestTryHooks", "TestTryHooksTellsWhatFails", "TestTryFunctions"},
			What: "every hook can be attached, and what cannot is told; each provider of functions that the kernel has works",
		},
		{
			Name: "hops", Package: "tracer", Tests: []string{"TestOrderOfHops"},
			What: "the hops of a published port, both ways, at each detail and by each provider of devices, in order",
		},
		{
			Name: "ways", Package: "tracer", Tests: []string{"TestHostMode", "TestIPv6", "TestWithoutBridgeNetfilter"},
			What: "the hops of other ways: host mode, IPv6, a bridge without netfilter",
		},
		{
			Name: "accounting", Package: "tracer", Tests: []string{"TestExactCounts", "TestDropsInNetfilter", "TestCloseLeavesNothing"},
			What: "every packet is counted once, with its outcome; nothing stays behind",
		},
		{
			Name: "rules", Package: "tracer", Tests: []string{"TestDropRules", "TestAddAndRemove"},
			What: "the rule that dropped a packet is named; targets come and go",
		},
		{
			Name: "functions", Package: "tracer", Tests: []string{"TestFunctions", "TestFunctionProviders", "TestUnknownFunction"},
			What: "functions inside a hop: their order, entry before return, times that add up to the hop's, by each provider",
		},
		{Name: "doctor", Package: "internal/doctor/probe", Tests: []string{"TestRead"}, What: "the machine is described"},
		engineGroup(),
		worldsGroup(),
		agreementGroup(),
	}
}

// Modules are loaded in guests: what the lab's worlds are made of, with what
// they depend on. A part that is built into a kernel is no module there.
func Modules() []string {
	return []string{
		"veth", "bridge", "br_netfilter", "macvlan", "ipvlan", "dummy", "8021q", "vxlan", "ifb", "tun",
		"nf_tables", "nft_compat", "nft_chain_nat", "nft_ct", "nft_nat", "nft_masq", "nft_reject_ipv4", "nft_reject_inet", "nft_limit", "nft_queue", "nft_log", "nft_counter", "nft_fib_ipv4", "nft_fib_ipv6", "nft_fib_inet",
		"nf_conntrack", "nf_nat", "nf_conntrack_netlink", "nfnetlink_queue", "nf_log_syslog",
		"ip_tables", "iptable_filter", "iptable_nat", "iptable_raw", "iptable_mangle", "ip6_tables", "ip6table_filter", "ip6table_nat",
		"xt_MASQUERADE", "xt_nat", "xt_conntrack", "xt_addrtype", "xt_comment", "xt_mark", "xt_tcpudp", "xt_set", "xt_NFQUEUE", "xt_LOG", "xt_limit", "ipt_REJECT", "ip6t_REJECT",
		"sch_ingress", "cls_bpf", "sch_netem", "sch_tbf", "sch_htb", "overlay",
	}
}
