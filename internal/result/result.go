// SPDX-License-Identifier: Apache-2.0

// Package result is the document of vethtrace compare and vethtrace bench: what
// two things take, hop by hop, and how they differ. The contract is
// docs/result-schema.json, which a test makes from the structs here.
//
//	internal/compare, internal/refbench ─> Document <─> JSON ─> exporter/text, vethtrace report
package result

import (
	"encoding/json"

	"github.com/vethtrace/vethtrace/internal/environment"
)

// Schema is the version of the documents that this package writes. It rises when
// a key is removed or changes its meaning, not when one is added; older ones
// stay readable.
const Schema = 1

// The kinds of documents.
const (
	KindCompare = "compare" // two targets, or two saved documents
	KindBench   = "bench"   // several ways under loads of our own
)

// Document is one result.
type Document struct {
	Schema      int                      `json:"schema" doc:"version of this schema; it rises when a key is removed or changes its meaning, not when one is added" const:"1"`
	Kind        string                   `json:"kind" doc:"what made it: vethtrace compare or vethtrace bench" enum:"compare,bench"`
	Version     string                   `json:"version" doc:"of vethtrace"`
	Start       string                   `json:"start" doc:"when it began, UTC" format:"date-time"`
	DurationS   float64                  `json:"duration_s" doc:"of the whole" min:"0"`
	Answer      string                   `json:"answer" doc:"the result in one sentence, with its interval"`
	Environment *environment.Environment `json:"environment" doc:"what this run was made in; null in a comparison of saved documents, whose sides have theirs"`
	Differences []Difference             `json:"differences" doc:"what differs in the two environments, of saved documents; empty otherwise"`
	Caution     string                   `json:"caution" doc:"why the difference must not be read as the effect of a cause: two hosts, two days, a target that ended meanwhile; empty where nothing speaks against it"`
	Sides       []Side                   `json:"sides" doc:"of kind compare: the two that were compared, in the order that they were named; empty otherwise"`
	Bench       *Bench                   `json:"bench" doc:"of kind bench: what was run and measured; null otherwise"`
	Comparisons []Comparison             `json:"comparisons" doc:"one per pair of ways and load; one in a document of kind compare"`
	Notes       []string                 `json:"notes" doc:"what a reader must know, in words"`
}

// Difference is something in two environments that is not the same.
type Difference struct {
	Key     string `json:"key" doc:"of the environment, with dots: sysctls.net.ipv4.ip_forward"`
	Of      string `json:"of" doc:"its value on the side that the difference is taken of"`
	Against string `json:"against" doc:"its value on the side that it is taken against"`
}

// Side is one of two that are compared.
type Side struct {
	Name        string                   `json:"name" doc:"of the target or of the file"`
	File        string                   `json:"file" doc:"that it was read from; empty when it was traced now"`
	Environment *environment.Environment `json:"environment" doc:"of a saved document; null when it was traced now, or when an older version saved it without"`
	Trace       json.RawMessage          `json:"trace" doc:"what was traced, with one target" ref:"schema.json"`
	Ingress     string                   `json:"ingress_path" doc:"id of the path towards the socket that is compared, in trace; empty for none"`
	Egress      string                   `json:"egress_path" doc:"id of the path from the socket that is compared, in trace; empty for none"`
}

// Bench is a plan and what it measured.
type Bench struct {
	World   string   `json:"world" doc:"reference: the world of vethtrace demo; docker: containers of a real engine" enum:"reference,docker"`
	Image   string   `json:"image" doc:"of the containers; empty in the reference world"`
	Wire    string   `json:"wire" doc:"what lies between client and host: veth, tap; none where the client runs on the host; given where the user named its namespace"`
	Detail  string   `json:"detail" doc:"how many hops a path is divided into: devices, hooks, tables"`
	Seed    uint64   `json:"seed" doc:"of the bootstrap"`
	CPU     int      `json:"cpu" doc:"that both ends of request-response loads run on, -1 for any"`
	Rounds  int      `json:"rounds" doc:"of each way and load with tracing; as many without" min:"0"`
	RoundS  float64  `json:"round_s" doc:"length of a round" min:"0"`
	WarmupS float64  `json:"warmup_s" doc:"of load before each round, not in any figure" min:"0"`
	Order   []string `json:"order" doc:"ways in the order of the rounds, of one load: A B B A"`
	Ways    []Way    `json:"ways" doc:"how the client reached the server"`
	Loads   []Load   `json:"loads" doc:"what the client did"`
	Cells   []Cell   `json:"cells" doc:"what was measured, by way and load"`
	Cut     bool     `json:"cut" doc:"the time was over before all loads had all their rounds"`
	LeftOut []string `json:"left_out" doc:"ways and loads that could not be run here, and why"`
	Others  Others   `json:"others" doc:"other work on the CPU that both ends of request-response ran on"`
}

// Others is what other work took while a bench ran: a client waits for it as well,
// hops do not have it, and so shares are lower.
type Others struct {
	Share      *float64 `json:"share" doc:"of that CPU, in all rounds of the way where it was most: 1 is all; null where that is not known" min:"0"`
	KeptShare  *float64 `json:"kept_share" doc:"the same of the rounds that the explained shares are made of" min:"0"`
	StealShare *float64 `json:"steal_share" doc:"of that CPU's time, what a hypervisor gave to other machines while the bench ran; null where that is not known" min:"0"`
	Rounds     int      `json:"rounds" doc:"of all comparisons, without and with tracing" min:"0"`
	LeftOut    int      `json:"rounds_left_out" doc:"of these: not in the explained shares" min:"0"`
	Slow       int      `json:"rounds_slow" doc:"of all rounds: something outside of the CPU slowed it, as work on another one of the same core does" min:"0"`
	SlowKept   int      `json:"rounds_slow_kept" doc:"of these: in the explained shares nevertheless" min:"0"`
	Caution    string   `json:"caution" doc:"what a reader of shares must know of it; empty on a quiet machine"`
}

// Way is how a client reaches a server.
type Way struct {
	Name    string `json:"name" doc:"host, published, address, proxy, container, network, host-local"`
	Title   string `json:"title" doc:"the same in words"`
	Mode    string `json:"mode" doc:"of the target, as Docker names it"`
	Target  string `json:"target" doc:"that serves"`
	Client  string `json:"client" doc:"where the client is" enum:"outside,host,container"`
	Address string `json:"address" doc:"that the client connects to, without port"`
	Against string `json:"against" doc:"the way that this one is compared with; empty for a way that others are compared with"`
}

// Load is what a client does.
type Load struct {
	Name        string  `json:"name" doc:"tcp_rr, udp_rr, http, ..."`
	Title       string  `json:"title" doc:"the same in words"`
	Protocol    string  `json:"protocol" doc:"of the client" enum:"tcp,udp,http"`
	Loop        string  `json:"loop" doc:"closed: the next request follows the answer; open: requests at a fixed rate, whose latency counts from when they were due" enum:"closed,open"`
	Connections int     `json:"connections" doc:"at once; of an open loop the most" min:"0"`
	RatePerS    float64 `json:"rate_per_s" doc:"of an open loop; 0 of a closed one" min:"0"`
	NewEach     bool    `json:"new_connection" doc:"each request has a connection of its own"`
	Bytes       int     `json:"bytes" doc:"that a request sends" min:"0"`
	OnePacket   bool    `json:"one_packet" doc:"one request and one packet each way are in flight, so that the client's time can be explained hop by hop"`
}

// Cell is one way under one load.
type Cell struct {
	Way          string          `json:"way" doc:"name of the way"`
	Load         string          `json:"load" doc:"name of the load"`
	Traced       Measurement     `json:"traced" doc:"what the client saw while hops were traced"`
	Untraced     Measurement     `json:"untraced" doc:"what it saw with nothing attached"`
	TracingAdded *Estimate       `json:"tracing_added" doc:"mean of traced minus mean of untraced: what measuring cost the client; null with too few rounds"`
	PerRequest   PerRequest      `json:"per_request" doc:"what was traced, by request"`
	Trace        json.RawMessage `json:"trace" doc:"hops of the traced rounds, with one target; latencies have the bench's rounds" ref:"schema.json"`
	Ingress      string          `json:"ingress_path" doc:"id of the path towards the socket that most packets took, in trace; empty for none"`
	Egress       string          `json:"egress_path" doc:"id of the path from the socket that most packets took, in trace; empty for none"`
}

// Measurement is what a client saw.
type Measurement struct {
	Requests  uint64  `json:"requests" doc:"that were answered" min:"0"`
	Errors    uint64  `json:"errors" doc:"requests that failed or were not answered in time" min:"0"`
	LastError string  `json:"last_error" doc:"of the last one that failed; empty for none"`
	Bytes     uint64  `json:"bytes" doc:"that the requests sent and the answers had, without headers of IP and TCP" min:"0"`
	BusyS     float64 `json:"busy_s" doc:"time that the rounds took together" min:"0"`
	Latency   Latency `json:"latency" doc:"from request to the end of its answer"`
}

// Latency is a distribution that a client measured.
type Latency struct {
	Count   uint64      `json:"count" doc:"of values" min:"0"`
	SumNs   uint64      `json:"sum_ns" doc:"exact" min:"0"`
	MeanNs  float64     `json:"mean_ns" doc:"0 of nothing"`
	P50Ns   *float64    `json:"p50_ns" doc:"null when fewer than 10 values lie above; so are the others"`
	P90Ns   *float64    `json:"p90_ns" doc:"9 of 10 lie below"`
	P99Ns   *float64    `json:"p99_ns" doc:"99 of 100 lie below"`
	P999Ns  *float64    `json:"p999_ns" doc:"999 of 1000 lie below"`
	MaxNs   uint64      `json:"max_ns" doc:"exact" min:"0"`
	Buckets [][2]uint64 `json:"buckets" doc:"lower bound in ns and count of each bucket that is not empty; the rule is that of schema.json"`
	Rounds  []Round     `json:"rounds" doc:"what each round measured"`
}

// Round is a part of a measurement. Values of one round are correlated: rounds are the samples of all intervals.
type Round struct {
	StartS float64 `json:"start_s" doc:"since start of the document" min:"0"`
	Count  uint64  `json:"count" doc:"of values" min:"0"`
	SumNs  uint64  `json:"sum_ns" doc:"of values" min:"0"`
	P50Ns  float64 `json:"p50_ns" doc:"0 of nothing" min:"0"`

	OthersShare *float64 `json:"others_share" doc:"what other work took of the round, on the CPU that both ends ran on: 1 is all; null where that is not known" min:"0"`
	Slowed      *float64 `json:"slowed" doc:"how much longer a fixed piece of work beside the round took than on a core that nobody else uses: 0 is no longer; null where that is not known"`
}

// PerRequest is what the packets of a request took together.
type PerRequest struct {
	PacketsIn  float64  `json:"packets_in" doc:"towards the socket, as the kernel handles them (GRO)" min:"0"`
	PacketsOut float64  `json:"packets_out" doc:"from the socket, as the kernel handles them (GSO)" min:"0"`
	HopsNs     float64  `json:"hops_ns" doc:"sum of all hops of all packets of a request, as measured: of packets that are under way at a time more than the client waits"`
	ProxyNs    *float64 `json:"proxy_ns" doc:"mean time in docker-proxy from request to request sent on; null where none answered"`
	ReaderNs   *float64 `json:"reader_ns" doc:"mean time from data ready to the first byte read; null where none was measured"`
}

// Estimate is a figure with its 95% confidence interval.
type Estimate struct {
	Ns float64 `json:"ns" doc:"nanoseconds"`
	Lo float64 `json:"lo_ns" doc:"lower end of the 95% interval"`
	Hi float64 `json:"hi_ns" doc:"upper end of the 95% interval"`
}

// Share is a part of a whole with its 95% confidence interval: 1 is all of it.
// It is signed, and may exceed 1.
type Share struct {
	Share float64 `json:"share" doc:"1 is the whole; signed, may exceed 1"`
	Lo    float64 `json:"lo" doc:"lower end of the 95% interval"`
	Hi    float64 `json:"hi" doc:"upper end of the 95% interval"`
}

// Comparison is how two sides differ. Every difference is of minus against.
type Comparison struct {
	Load      string     `json:"load" doc:"of kind bench: name of the load; empty otherwise"`
	Of        string     `json:"of" doc:"name of the side or way that the difference is taken of"`
	Against   string     `json:"against" doc:"name of the side or way that it is taken against: difference = of - against"`
	Class     string     `json:"class" doc:"which packets are compared: family, protocol, peer, flow"`
	Raw       bool       `json:"raw" doc:"figures are as measured; else what measuring costs is subtracted"`
	Paired    bool       `json:"paired" doc:"both sides were measured at the same time, round by round"`
	Rounds    [2]int     `json:"rounds" doc:"of the two sides, of and against"`
	DriftNs   [2]float64 `json:"drift_ns" doc:"of two runs one after the other: by how much (standard deviation) the whole moved from one quarter of a run to another, beyond what the spread of its rounds explains, of and against: it is in the intervals of means; 0: none that can be told, or both were measured at the same time"`
	Rows      []Row      `json:"rows" doc:"hops, aligned by layer; in order of the way in, the socket, the way out"`
	Paths     []Row      `json:"paths" doc:"the whole path of each direction; rows of a direction add up to it"`
	Whole     Row        `json:"whole" doc:"both directions and the socket"`
	Layers    []Layer    `json:"layers" doc:"rows summed by layer; shares add up to 1"`
	Verdict   string     `json:"verdict" doc:"in plain words: what the difference is, or that it cannot be told from zero, or that a side has too few packets"`
	Distinct  bool       `json:"distinguishable" doc:"the 95% interval of the whole difference does not contain 0"`
	Explained *Explained `json:"explained" doc:"of kind bench: what the client saw against what the hops say; null otherwise"`

	ExplainedShare  *Share `json:"explained_share" doc:"of kind bench: difference of the traced hops over both directions, by the difference that the client measured, on means, both without what measuring costs: explained.hops / explained.client; null with the reason in explained_share_reason"`
	ExplainedTraced *Share `json:"explained_share_traced" doc:"the same as measured: explained.hops_raw / explained.client_traced, in which what measuring costs outside of the hops counts as not explained; null likewise"`
	ExplainedReason string `json:"explained_share_reason" doc:"why explained_share is null; empty where it is not"`
}

// Row is a hop of one side or of both.
type Row struct {
	Direction string    `json:"direction" doc:"ingress, egress; empty for the socket and the whole" enum:"ingress,egress,"`
	Hop       string    `json:"hop" doc:"name of the hop, as in hops.md; path for a whole path, socket, whole"`
	Side      string    `json:"side" doc:"where it lies" enum:"host,target,"`
	Layer     string    `json:"layer" doc:"what it is part of: netfilter/HOOK or netfilter/HOOK/TABLE, routing, bridge, veth, softirq, container, socket, device, loopback, forwarding"`
	Of        *Figures  `json:"of" doc:"of this side; null where it has no such hop"`
	Against   *Figures  `json:"against" doc:"of the other side; null where it has no such hop"`
	Mean      *Estimate `json:"difference_mean" doc:"of - against of means, an empty cell counting as 0; null with too few packets"`
	P50       *Estimate `json:"difference_p50" doc:"of medians; null with too few packets, or where a cell is empty and it would be the median itself"`
	P99       *Estimate `json:"difference_p99" doc:"of 99th percentiles; null as for medians"`
	Share     *Share    `json:"share" doc:"of the whole difference, on means; null where that cannot be told from 0"`
	Distinct  bool      `json:"distinguishable" doc:"the difference of means is not 0, at 95% over all rows together"`
	Words     string    `json:"words" doc:"what the figures alone do not say: not distinguishable from zero, too few packets; empty otherwise"`
}

// Figures are those of one hop of one side.
type Figures struct {
	Count  uint64   `json:"count" doc:"of packets" min:"0"`
	MeanNs float64  `json:"mean_ns" doc:"mean"`
	P50Ns  *float64 `json:"p50_ns" doc:"median, interpolated within its bucket; null when fewer than 10 lie above"`
	P99Ns  *float64 `json:"p99_ns" doc:"99th percentile, likewise"`
	Device string   `json:"device" doc:"where the hop ends; empty for none"`
}

// Layer sums rows.
type Layer struct {
	Layer   string    `json:"layer" doc:"as in rows"`
	Of      float64   `json:"of_ns" doc:"sum of means; 0 where this side has none of its hops, as rows tell"`
	Against float64   `json:"against_ns" doc:"sum of means; 0 likewise"`
	Mean    *Estimate `json:"difference_mean" doc:"of - against; null with too few packets"`
	Share   *Share    `json:"share" doc:"of the whole difference; null where that cannot be told from 0"`
}

// Explained is the client's difference, part by part.
type Explained struct {
	Base    *Estimate `json:"base" doc:"the client's mean by the way that is compared with, of the same rounds: client is added to it; null with too few rounds, or in a result of an older version"`
	Client  *Estimate `json:"client" doc:"difference of the client's mean with nothing attached; null with too few rounds"`
	Hops    *Estimate `json:"hops" doc:"difference of the hops of a request, over both directions, without what measuring costs: only hops with a stamp at both ends"`
	Parts   []Part    `json:"parts" doc:"what is no hop: time in the application or the proxy, one line each, without what measuring costs"`
	NotSeen *Part     `json:"not_seen" doc:"what is left of client: client = hops + parts + not_seen; null where client or hops are, and where hops of a request overlap in time"`

	ClientTraced *Estimate `json:"client_traced" doc:"difference of the client's mean while traced"`
	HopsRaw      *Estimate `json:"hops_raw" doc:"hops as measured, what measuring costs in them"`
	Rounds       int       `json:"rounds" doc:"of a way, without and with tracing together" min:"0"`
	LeftOut      int       `json:"rounds_left_out" doc:"of these: not in the figures here, of both ways alike, as other work took more than 2% of them on one of both, or slowed the CPU; at most half" min:"0"`
	Slow         int       `json:"rounds_slow" doc:"of all rounds: a fixed piece of work beside them took more than 12% longer than on a core that nobody else uses, on one of both ways" min:"0"`
	SlowKept     int       `json:"rounds_slow_kept" doc:"of these: in the figures here" min:"0"`
	OthersShare  *float64  `json:"others_share" doc:"the most that other work took of the rounds that are in the figures, on either way: the explained share is lower by at least as much; null where that is not known" min:"0"`
	Tracing      *Part     `json:"tracing" doc:"what measuring costs outside of the hops, as when a journey's end is written down: client_traced - client - (hops_raw - hops); null likewise"`
}

// Part is a line beside the hops.
type Part struct {
	Name string   `json:"name" doc:"what took the time"`
	Mean Estimate `json:"difference_mean" doc:"of - against"`
}

// The names of parts.
const (
	NotSeen = "not seen (client side, scheduling, driver)" // what neither hops nor parts are
	Tracing = "measuring, outside of the hops"
)
