package json

import "github.com/vethtrace/vethtrace/internal/environment"

// Schema is the version of the documents that this package writes and reads.
// It changes only when a key is removed or changes its meaning.
const Schema = 1

// The structs below are docs/schema.json in Go; that file says what each key
// means. All keys are always written.

type document struct {
	Schema    int       `json:"schema"`
	Version   string    `json:"version"`
	Kernel    string    `json:"kernel"`
	Detail    string    `json:"detail"`
	Start     string    `json:"start"`
	DurationS float64   `json:"duration_s"`
	Targets   []target  `json:"targets"`
	Journeys  []journey `json:"journeys"`
	Observer  observer  `json:"observer"`
	Notes     []string  `json:"notes"`
	// Hooks and Missing are not in documents of versions that had one provider of each hook.
	Hooks   []attached `json:"hooks"`
	Missing []missing  `json:"missing"`
	// Environment is of the first documents that had it, of schema 1, missing in older ones.
	Environment *environment.Environment `json:"environment"`
}

type attached struct {
	Hook     string `json:"hook"`
	Provider string `json:"provider"`
	Links    int    `json:"links"`
}

type missing struct {
	Hook    string `json:"hook"`
	Borders string `json:"borders"`
	Why     string `json:"why"`
}

type target struct {
	Name       string               `json:"name"`
	Aliases    []string             `json:"aliases"`
	ID         string               `json:"id"`
	Mode       string               `json:"mode"`
	PID        int                  `json:"pid"`
	Netns      uint64               `json:"netns"`
	Gone       bool                 `json:"gone"`
	Interfaces []netInterface       `json:"interfaces"`
	Ports      []port               `json:"ports"`
	Paths      []path               `json:"paths"`
	Waiting    waiting              `json:"waiting"`
	Accounting directed[accounting] `json:"accounting"`
	Skipped    directed[[]skip]     `json:"skipped"`
	Drops      []drop               `json:"drops"`
	Totals     *directed[total]     `json:"totals"`
	Proxied    *proxied             `json:"proxied"`
	// Unpredicted and Unseen are missing in older documents.
	Unpredicted []unpredicted `json:"unpredicted"`
	Unseen      []unseen      `json:"unseen"`
}

type unpredicted struct {
	Path      string   `json:"path"`
	Packets   uint64   `json:"packets"`
	After     string   `json:"after"`
	Seen      string   `json:"seen"`
	Predicted []string `json:"predicted"`
}

type unseen struct {
	Direction string `json:"direction"`
	Device    string `json:"device"`
	Peer      string `json:"peer"`
	Packets   uint64 `json:"packets"`
}

// directed is something that there is of each direction.
type directed[T any] struct {
	Ingress T `json:"ingress"`
	Egress  T `json:"egress"`
}

type netInterface struct {
	Name      string   `json:"name"`
	Index     int      `json:"index"`
	Peer      string   `json:"peer"`
	PeerIndex int      `json:"peer_index"`
	Bridge    string   `json:"bridge"`
	Addrs     []string `json:"addrs"`
}

type port struct {
	HostAddr  string `json:"host_addr"`
	Host      uint16 `json:"host"`
	Container uint16 `json:"container"`
	Protocol  string `json:"protocol"`
}

type path struct {
	ID        string  `json:"id"`
	Family    string  `json:"family"`
	Protocol  string  `json:"protocol"`
	Direction string  `json:"direction"`
	Peer      string  `json:"peer"`
	Leg       int     `json:"leg"` // follows from the others: written, and not read
	Flow      string  `json:"flow"`
	Packets   uint64  `json:"packets"`
	Segments  uint64  `json:"segments"`
	Bytes     uint64  `json:"bytes"`
	Latency   latency `json:"latency"`
	Hops      []hop   `json:"hops"`
}

type hop struct {
	Index   int     `json:"index"`
	Name    string  `json:"name"`
	Side    string  `json:"side"`
	Device  string  `json:"device"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Count   uint64  `json:"count"`
	Latency latency `json:"latency"`
	// Functions and Own are missing in documents of versions that probed no functions.
	Functions []function `json:"functions"`
	Own       *latency   `json:"own"`
}

type function struct {
	Name      string  `json:"name"`
	Depth     int     `json:"depth"`
	SinceNs   float64 `json:"since_ns"`
	Inclusive latency `json:"inclusive"`
	Exclusive latency `json:"exclusive"`
}

type latency struct {
	Count     uint64           `json:"count"`
	Corrected summary[float64] `json:"corrected"`
	Raw       summary[uint64]  `json:"raw"`
	Null      null             `json:"null"`
	Buckets   [][2]uint64      `json:"buckets"`
	Rounds    []round          `json:"rounds"`
}

// summary has an exact sum when raw, and a fraction when corrected.
type summary[Sum uint64 | float64] struct {
	SumNs  Sum      `json:"sum_ns"`
	MeanNs float64  `json:"mean_ns"`
	P50Ns  *float64 `json:"p50_ns"`
	P90Ns  *float64 `json:"p90_ns"`
	P99Ns  *float64 `json:"p99_ns"`
	P999Ns *float64 `json:"p999_ns"`
	MaxNs  uint64   `json:"max_ns"`
}

type null struct {
	Count    uint64  `json:"count"`
	MeanNs   float64 `json:"mean_ns"`
	MedianNs float64 `json:"median_ns"`
	SpreadNs float64 `json:"spread_ns"`
}

type round struct {
	StartS float64 `json:"start_s"`
	Count  uint64  `json:"count"`
	SumNs  uint64  `json:"sum_ns"`
	P50Ns  float64 `json:"p50_ns"`
}

type waiting struct {
	Transport latency `json:"transport"`
	Reader    latency `json:"reader"`
	Share     float64 `json:"share"`
}

type accounting struct {
	Started   uint64 `json:"started"`
	Cloned    uint64 `json:"cloned"`
	Completed uint64 `json:"completed"`
	Dropped   uint64 `json:"dropped"`
	Merged    uint64 `json:"merged"`
	Evicted   uint64 `json:"evicted"`
	Expired   uint64 `json:"expired"`
	Cut       uint64 `json:"cut"`
	InFlight  uint64 `json:"in_flight"`
}

type total struct {
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
	Estimated bool   `json:"estimated"`
}

type skip struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

type drop struct {
	Direction string `json:"direction"`
	Hop       string `json:"hop"`
	Reason    string `json:"reason"`
	Count     uint64 `json:"count"`
	// Rules is missing in older documents.
	Rules []dropRule `json:"rules"`
}

type dropRule struct {
	Count  uint64 `json:"count"`
	Packet string `json:"packet"`
	Rule   *rule  `json:"rule"`
	Why    string `json:"why"`
}

type rule struct {
	Backend string `json:"backend"`
	Family  string `json:"family"`
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	Number  int    `json:"number"`
	Text    string `json:"text"`
	Handle  uint64 `json:"handle"`
}

type proxied struct {
	PID   int     `json:"pid"`
	Proxy latency `json:"proxy"`
}

type journey struct {
	ID        uint64  `json:"id"`
	Target    string  `json:"target"`
	Path      string  `json:"path"`
	Direction string  `json:"direction"`
	Peer      string  `json:"peer"`
	Outcome   string  `json:"outcome"`
	Reason    string  `json:"reason"`
	Slow      bool    `json:"slow"`
	Bytes     uint32  `json:"bytes"`
	Stamps    []stamp `json:"stamps"`
}

type stamp struct {
	Hook   string `json:"hook"`
	Hop    string `json:"hop"`
	Device string `json:"device"`
	CPU    int    `json:"cpu"`
	TNs    int64  `json:"t_ns"`
}

type observer struct {
	StampNs         map[string]float64 `json:"stamp_ns"`
	Stamps          uint64             `json:"stamps"`
	CPUShare        float64            `json:"cpu_share"`
	RecursionMisses uint64             `json:"recursion_misses"`
	// Recorded is missing in older documents.
	Recorded  *uint64    `json:"recorded"`
	RingLost  uint64     `json:"ring_lost"`
	CallsLost uint64     `json:"calls_lost"`
	Unpathed  uint64     `json:"unpathed"`
	ObservedS *float64   `json:"observed_s"`
	Budget    *budget    `json:"budget"`
	SelfCheck *selfCheck `json:"self_check"`
}

type budget struct {
	MaxShare float64 `json:"max_share"`
	State    string  `json:"state"`
	Windows  uint64  `json:"windows"`
}

type selfCheck struct {
	Pairs      int     `json:"pairs"`
	WindowS    float64 `json:"window_s"`
	CPU        *ratio  `json:"cpu"`
	Rate       *ratio  `json:"rate"`
	CPUNs      float64 `json:"cpu_ns"`
	AddedNs    float64 `json:"added_ns"`
	Same       *ratio  `json:"same"`
	Unreliable string  `json:"unreliable"`
}

type ratio struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}
