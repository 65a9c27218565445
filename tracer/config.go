package tracer

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Config says what to trace. The zero value traces nothing at detail hooks
// until targets are added.
type Config struct {
	Host    *netns.NS // where the bridge and the uplinks live; nil: the namespace of the caller. Stays the caller's.
	Version string    // for snapshots
	// Environment is what is traced in, for snapshots; nil where nobody wants it.
	Environment *environment.Environment
	Detail      Detail // default DetailHooks
	Capacity    int    // most targets at a time; default 8
	// Devices takes the borders of devices: ProviderTCX or ProviderTracepoint;
	// "": tcx up to 64 targets, tracepoints from the first target above on.
	Devices Provider
	// Refuse are providers that are not used, as if this kernel did not allow them.
	Refuse   []Provider
	Interval time.Duration // length of a round; default 1 s
	Slow     time.Duration // journeys from this latency on are recorded whole; 0: none
	Sample   uint32        // one in so many journeys is recorded whole; 0: none
	// MaxOverhead is what tracing may cost, as a share of one CPU (0.01: 1%), all
	// CPUs together: the hooks are attached for a part of the time only. 0: no limit.
	MaxOverhead float64
	Protocol    string       // tcp, udp, icmp or a number: only these start a journey; "" any
	Ports       []uint16     // only packets from or to one of these ports; none: any
	Peer        netip.Prefix // only packets from or to these addresses; invalid: any
	// Keep is how long what was seen of a target stays in snapshots after its end; 0: for the run.
	Keep time.Duration
	// NoRounds keeps no rounds of latencies, for runs of weeks: they take 32 bytes per second and hop.
	NoRounds bool
	Follow   bool // targets of any mode may be added later: all programs are loaded
	// Controller is the cgroup v1 controller that tells host-mode targets added
	// later apart; "" is cgroup v2.
	Controller string
	// Memory is the most that maps may take in the kernel, in bytes; 0: what they need.
	Memory uint64
	// Spare is how many file descriptors to leave to the caller; default 64.
	Spare int
	// Probes are functions of the kernel that a packet is stamped in also, at any detail.
	Probes []string
	// FunctionsBy is the only provider of functions to try; "": each in turn.
	FunctionsBy Provider
	// FunctionProgress is told how many functions are attached to, or detached from.
	FunctionProgress func(doing string, done, total int)
	// Progress is told how many of the targets that are being added are attached.
	Progress func(done, total int)
	// Skip is told of a target of Open's that cannot be traced, because no packet
	// can reach it or it has just ended, and that is left out; nil: Open fails.
	Skip func(spec TargetSpec, err error)
	// DropRules tells which rule dropped what netfilter drops. Rules are read when
	// tracing begins, and again when a snapshot has such drops.
	DropRules bool
	// ExtraNulls is how many more null hops lie behind each one: what all of
	// them cost must be taken out of the hop that they lie in, which judges the
	// correction. For measurements of vethtrace itself.
	ExtraNulls int
	// KeepWindows leaves what is attached for windows attached, however busy the
	// machine is: each packet meets the null hops. For measurements of vethtrace itself.
	KeepWindows bool
	// PeerName names a container that is no target by the host's end of its
	// veth; nil, or "": by that device.
	PeerName func(port topology.Link) string
	Log      *slog.Logger // default: discards

	functions bool // those of detail functions too, which else is detail tables

	missing []Missing // at a detail that this run came down from

	object func() (*ebpf.CollectionSpec, error) // a test's; default: bpf.LoadKernel
}

// TargetSpec is a target to trace.
type TargetSpec struct {
	Name    string
	Aliases []string
	ID      string
	Mode    string // as Docker names it
	PID     int
	Netns   *netns.NS // the tracer keeps its own descriptor
	Ports   []Port

	// Cgroup tells the processes of a target in host mode; the zero value with
	// a PID means that process alone. Targets with a namespace of their own do
	// not need it.
	Cgroup Cgroup
	// Listeners are the ports that a target in host mode listens on.
	Listeners []Listener
	// Proxies are the pids of docker-proxy processes that serve this target.
	Proxies []int
}

// Cgroup names a control group by the inode of its directory.
type Cgroup struct {
	ID         uint64
	Controller string // of cgroup v1, "" for v2
}

// Listener is a port that a host-mode target listens on.
type Listener struct {
	Protocol string // tcp, udp
	Port     uint16
}

// shown is the detail as it was asked for.
func (c Config) shown() Detail {
	if c.functions {
		return DetailFunctions
	}
	return c.Detail
}

// budgeted tells whether the hooks come and go.
func (c Config) budgeted() bool { return c.MaxOverhead > 0 }

func (c Config) withDefaults() Config {
	if c.Detail == "" {
		c.Detail = DetailHooks
	}
	if c.Detail == DetailFunctions {
		c.Detail, c.functions = DetailTables, true
	}
	if c.Capacity <= 0 {
		c.Capacity = 8
	}
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	if c.Spare <= 0 {
		c.Spare = 64
	}
	if c.object == nil {
		c.object = bpf.LoadKernel
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
