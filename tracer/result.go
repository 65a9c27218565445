package tracer

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// Direction tells which way a journey goes, seen from its target.
type Direction uint8

// The two directions.
const (
	Ingress Direction = iota // towards the target's socket
	Egress                   // from the target's socket
)

// String returns "ingress" or "egress".
func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// Side tells in which network namespace a hop lies.
type Side uint8

// The two sides of a path.
const (
	SideHost   Side = iota // the namespace vethtrace runs in
	SideTarget             // the target's own namespace
)

// String returns "host" or "target".
func (s Side) String() string {
	if s == SideTarget {
		return "target"
	}
	return "host"
}

// Snapshot is all that was seen since Open, at one moment. Everything in it is
// cumulative; Since subtracts an earlier one for a live view.
type Snapshot struct {
	Version  string        // of vethtrace
	Kernel   string        // uname -r
	Detail   Detail        // devices, hooks, tables or functions
	Start    time.Time     // when the last hook was attached
	Duration time.Duration // since Start
	Final    bool          // everything is detached: accounting is exact, not read while packets move
	Targets  []Target
	Journeys []Journey // slow and sampled ones, in order of their end: the last 1,024 since Open
	Observer Observer
	Hooks    []Attachment // what is attached now
	Missing  []Missing    // hooks that this kernel does not offer by any provider: the run does without
	Notes    []string     // what a reader must know: a bound NFQUEUE, a hook that could not be attached
	// Environment is what was traced in; nil where it was not read.
	Environment *environment.Environment
}

// Target is one traced namespace (or, in host mode, one set of sockets).
type Target struct {
	Name       string
	Aliases    []string // other containers that share the namespace
	ID         string   // of the container, "" without an engine
	Mode       string   // as Docker names it: bridge, host, container:NAME, a network's name; "netns" without an engine
	PID        int
	Netns      uint64 // inode of the namespace
	Interfaces []Interface
	Ports      []Port
	Paths      []Path
	Waiting    Waiting
	Accounting [2]Accounting // by Direction
	Skipped    [2][]Skip     // by Direction: packets of the device that started no journey, by reason
	Drops      []Drop
	Totals     *[2]Total // by Direction, with a budget only: without one Accounting has each packet
	Proxied    *Proxied  // set when docker-proxy answered for this target
	Gone       bool      // the target has ended
	// Unpredicted and Unseen say where what was seen and what the wiring lets
	// expect are not the same; both are empty in ordinary worlds.
	Unpredicted []Unpredicted
	Unseen      []Unseen
}

// Interface is one device of the target and how it is connected.
type Interface struct {
	Name      string // eth0
	Index     int
	Peer      string // the host's end, "" where there is none
	PeerIndex int
	Bridge    string // docker0, "" where there is none
	Addrs     []netip.Addr
}

// Port is a published port.
type Port struct {
	Host      netip.AddrPort // Addr may be invalid: any address
	Container uint16
	Protocol  string // tcp, udp, sctp
}

// Path is a list of hops that journeys share, with what they took.
type Path struct {
	ID        string // stable for one run: a short hash of what identifies the path
	Family    string // ipv4, ipv6
	Protocol  string // tcp, udp, icmp, icmpv6, or the IP protocol's number
	Direction Direction
	Peer      string // uplink, host, container:NAME, self, proxy, unknown
	Flow      string // new (before the connection is confirmed by conntrack), established
	Packets   uint64 // skbs whose journey completed on this path
	Segments  uint64 // packets on the wire these stand for (GSO and GRO)
	Bytes     uint64 // of IP and above
	Latency   Latency
	Hops      []Hop
}

// Leg is which of docker-proxy's two connections the path is of: 1 from the
// client to the proxy, within the host, 2 from the proxy to the target; 0 for a
// path without a proxy.
func (p Path) Leg() int {
	if p.Peer != "proxy" {
		return 0
	}
	if slices.ContainsFunc(p.Hops, func(h Hop) bool { return h.Side == SideTarget }) {
		return 2
	}
	return 1
}

// Hop is the stretch between two consecutive stamps of a path.
type Hop struct {
	Index   int
	Name    string // netfilter/forward
	Side    Side
	Device  string // where the hop ends
	From    string // name of the hook it starts at
	To      string // name of the hook it ends at
	Latency Latency
	// Functions of the kernel that packets entered in this hop, where they are
	// probed, in the order of their entry; and of the packets that entered some
	// what the hop took without them: the sums of Own and of all Exclusive are
	// that of the hop, where each of its packets did.
	Functions []Function
	Own       *Latency // nil without Functions: it is as large as all else of a hop
}

// Function is what a function of the kernel took inside of a hop, one sample per
// call, as measured: what measuring it costs is not known.
type Function struct {
	Name      string  // nf_conntrack_in, ipt_do_table/nat
	Depth     int     // in how many other probed functions it was called
	SinceNs   float64 // from the hop's begin to the call, mean
	Inclusive Latency // to its return or, where the packet went on from inside it, to the hop's end
	Exclusive Latency // without the probed functions that it called
}

// Latency is a distribution of times, in nanoseconds.
type Latency struct {
	Hist   histogram.Histogram // raw
	Null   Null                // what the stamps themselves cost; zero where it is not known
	Rounds []Round             // one per interval
}

// Null is the zero line of a latency: what measuring it costs.
type Null struct {
	Count    uint64  // null hops measured
	MeanNs   float64 // subtracted from the mean
	MedianNs float64 // subtracted from quantiles
	SpreadNs float64 // half of the distance between p10 and p90: below it a corrected mean is not distinguishable from 0
}

// Round is one interval of a latency. Packets within a round are correlated;
// statistics take rounds as their samples.
type Round struct {
	Start time.Duration // since Snapshot.Start
	Count uint64
	SumNs uint64
	P50Ns float64
}

// Waiting is what follows a journey's end and is never summed into it.
type Waiting struct {
	Transport Latency // LOCAL_IN to data ready
	Reader    Latency // data ready to the first byte read
	Share     float64 // share of ingress packets for which Reader could be measured, 0 to 1
}

// Accounting is exact, per target and direction:
//
//	Started + Cloned = Completed + Dropped + Merged + Evicted + Expired + Cut + InFlight
type Accounting struct {
	Started   uint64 // journeys that began at a start hook
	Cloned    uint64 // journeys that began as a copy of another packet
	Completed uint64 // handed to the transport layer, or left by an uplink
	Dropped   uint64 // ended in kfree_skb
	Merged    uint64 // became part of another packet
	Evicted   uint64 // found their slot of the table taken
	Expired   uint64 // vanished unseen: found stale when their slot was needed
	Cut       uint64 // were under way when a hook was attached or detached
	InFlight  uint64 // counted by walking the table
}

// Balance is what was started minus what ended; 0 when nothing is unaccounted.
func (a Accounting) Balance() int64 {
	return int64(a.Started+a.Cloned) - int64(a.Completed+a.Dropped+a.Merged+a.Evicted+a.Expired+a.Cut+a.InFlight)
}

// Total is all packets of a target in one direction, whether they were followed or not.
type Total struct {
	Packets   uint64
	Bytes     uint64 // as devices count them, with the link layer's header; estimated ones without
	Estimated bool   // from the share of time in which hooks were attached: no device counts for this target alone
}

// Skip counts packets of the target's devices that no journey was started for.
type Skip struct {
	Reason string // not-ip, filtered, not-attached, not-joined (to a group, where that was none)
	Count  uint64
}

// Drop counts packets that the kernel freed on their way.
type Drop struct {
	Direction Direction
	Hop       string // netfilter/forward
	Reason    string // NETFILTER_DROP, as the kernel's enum skb_drop_reason names it, without prefix
	Count     uint64
	// Rules say what netfilter dropped them by, most packets first; none for drops
	// of other reasons, and where nobody asked (Config.DropRules).
	Rules []DropRule
}

// DropRule is by what some of the packets of a Drop were dropped.
type DropRule struct {
	Count  uint64
	Packet string         // one of them: 198.51.100.2:40312 -> 172.17.0.2:7 udp; "" where none was kept
	Rule   *NetfilterRule // nil: not known
	Why    string         // it is not known
}

// NetfilterRule names a rule, or the policy of a base chain.
type NetfilterRule struct {
	Backend string // nft, legacy
	Family  string // ip, ip6, inet
	Table   string
	Chain   string
	Number  int    // its place in its chain, from 1; 0 for the chain's policy
	Text    string // as its user writes it; "policy drop"
	Handle  uint64 // of nf_tables; 0 for others
}

// String is the rule with where it stands: "ip filter/DOCKER-USER rule 1: -A DOCKER-USER -j DROP".
func (r NetfilterRule) String() string {
	if r.Number == 0 {
		return fmt.Sprintf("%s of %s %s/%s", r.Text, r.Family, r.Table, r.Chain)
	}
	return fmt.Sprintf("%s %s/%s rule %d: %s", r.Family, r.Table, r.Chain, r.Number, r.Text)
}

// Proxied describes a published port that docker-proxy answered.
type Proxied struct {
	PID   int
	Proxy Latency // from the proxy's socket getting the request to the proxy sending it on
}

// Journey is one packet's stamps.
type Journey struct {
	ID        uint64
	Target    string
	Path      string // Path.ID
	Direction Direction
	Peer      string
	Outcome   string // completed, dropped
	Reason    string // of the drop, as in Drop; "" where it was none
	Slow      bool   // recorded for its latency, not by sampling
	Bytes     uint32
	Stamps    []Stamp
}

// End is how it ended in words, with the reason of a drop.
func (j Journey) End() string {
	if j.Reason == "" {
		return j.Outcome
	}
	return j.Outcome + ": " + j.Reason
}

// Latency is the time from the first stamp to the last.
func (j Journey) Latency() time.Duration {
	if len(j.Stamps) == 0 {
		return 0
	}
	return j.Stamps[len(j.Stamps)-1].T - j.Stamps[0].T
}

// Stamp is one packet's time at one hook.
type Stamp struct {
	Hook   string // netfilter/forward/first
	Hop    string // the hop that ends here; "" for the first
	Device string
	CPU    int
	T      time.Duration // CLOCK_MONOTONIC
}

// Observer is what measuring costs and what it missed.
type Observer struct {
	StampNs         map[string]float64 // median of the null hop, by hook type: tcx (also by clsact), netfilter, tracepoint, device (by tracepoint)
	Stamps          uint64             // stamps taken
	CPUShare        float64            // of one CPU, 0 to 1: stamps per second times their cost; with a budget, of all runs of programs
	Observed        time.Duration      // for how long journeys could start; less than the duration with a budget
	Budget          *Budget            // nil without one
	SelfCheck       *SelfCheck         // nil unless it was asked for
	RecursionMisses uint64
	Recorded        uint64 // slow and sampled journeys; Snapshot.Journeys has the last of them
	RingLost        uint64 // journeys that could not be recorded
	CallsLost       uint64 // calls of functions that are in no figure: too many in one journey, or no room in the table
	Unpathed        uint64 // completed journeys whose path had no room in the table: counted, not in a histogram
}

// Budget is what tracing may cost, and how it keeps to that. What it uses is
// Observer.CPUShare.
type Budget struct {
	MaxShare float64     // of one CPU, 0 to 1
	State    BudgetState // at the moment of the snapshot
	Windows  uint64      // begun: times that the hooks were attached
}

// BudgetState is what the hooks of a budget are doing.
type BudgetState string

// The states.
const (
	BudgetAttached BudgetState = "attached" // a window is open
	BudgetDetached BudgetState = "detached" // the budget is being saved up for the next one
	BudgetOver     BudgetState = "over"     // what stays attached (NFQUEUE, drops) alone costs more: there are no windows
	BudgetEnded    BudgetState = "ended"    // the run is over
)

// BudgetStates are all of them.
func BudgetStates() []BudgetState {
	return []BudgetState{BudgetAttached, BudgetDetached, BudgetOver, BudgetEnded}
}

// SelfCheck is what tracing was measured to add, with and without in turns under
// the user's own traffic. Figures are ratios with over without.
type SelfCheck struct {
	Pairs      int     // windows with tracing, each between two without
	WindowS    float64 // length of a window, in seconds
	CPU        Ratio   // processor time of the machine per packet
	Rate       Ratio   // packets per second
	CPUNs      float64 // processor time per packet without tracing, in ns
	AddedNs    float64 // what tracing added to it, in ns
	Same       Ratio   // CPU of windows without against their neighbours without: what the load does by itself
	Unreliable string  // why the figures are none, in words; "" when they hold
}

// Ratio is a ratio with its 95% interval.
type Ratio struct{ Value, Low, High float64 }
