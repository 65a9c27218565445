package tracer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/histogram"
	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/predict"
)

// collection is what was read from the kernel's memory so far, in 64 bits: the
// kernel's buckets are 32 bits wide and wrap, so it is their differences that count.
type collection struct {
	kernel  *kernel
	paths   map[int]*pathState // by place in the table of paths
	rows    map[int]*rowState  // by place in the table of functions
	retired []*pathState       // of targets that have gone, or to them
	gone    map[int]int        // how many targets have gone that had a number
	null    [bpf.KernelVtTypeVT_TYPE_MAX]*series
	waiting map[int]*[3]*series // by number of the target
	records []journey.Record
	// recorded are the journeys of all records there ever were; records has the last of them.
	recorded uint64
}

// pathState is a path of the kernel's table and its histograms: the whole, then each hop.
type pathState struct {
	key    uint64
	id     string
	target *target
	peer   uint16
	// Once the path is retired: the peer's number may be another's.
	peerName    string
	peerDevices map[int]string
	end         time.Time
	// deviation is where it left the ways that were predicted; nil also for paths not looked at yet.
	deviation *predict.Deviation
	found     time.Time
	predicted bool // there is none, and none will be found
	egress    bool
	protocol  uint8
	flags     uint8
	hooks     []journey.Hook
	ifindex   []int
	blocks    []uint32
	series    []*series
	rows      []*rowState // of functions
}

// series is one histogram through time.
type series struct {
	total    histogram.Histogram
	before   histogram.Histogram // at the last round
	segments uint64
	bytes    uint64
	last     []lastRead // by shard
	rounds   []Round
	gained   bool // something since the last round
}

type lastRead struct {
	bucket   [histogram.Buckets]uint32
	overflow uint32
	segments uint32
	sum      uint64
	bytes    uint64
}

func newSeries(shards int) *series { return &series{last: make([]lastRead, shards)} }

// read adds what one shard of a histogram has gained since the last time.
func (s *series) read(shard int, h *bpf.KernelVtHist) {
	last := &s.last[shard]
	sum := atomic.LoadUint64(&h.Sum)
	first := h.Bucket[0]
	if sum == last.sum && first == last.bucket[0] {
		return // nothing, or only zeros, which bucket 0 would show
	}
	s.gained = true
	for i := range h.Bucket {
		now := atomic.LoadUint32(&h.Bucket[i])
		s.total.Counts[i] += uint64(now - last.bucket[i])
		last.bucket[i] = now
	}
	overflow := atomic.LoadUint32(&h.Overflow)
	segments := atomic.LoadUint32(&h.Segments)
	bytes := atomic.LoadUint64(&h.Bytes)
	s.total.Overflow += uint64(overflow - last.overflow)
	s.total.Sum += sum - last.sum
	s.total.Max = max(s.total.Max, atomic.LoadUint64(&h.Max))
	s.segments += uint64(segments - last.segments)
	s.bytes += bytes - last.bytes
	last.overflow, last.segments, last.sum, last.bytes = overflow, segments, sum, bytes
}

// mostRounds are kept per latency; older ones are dropped. An hour of seconds.
const mostRounds = 3600

func (s *series) round(start time.Duration) {
	if !s.gained {
		return
	}
	s.gained = false
	gained := s.total.Sub(&s.before)
	count := gained.Count()
	if count == 0 {
		return
	}
	p50, _ := gained.Quantile(0.5)
	s.rounds = append(s.rounds, Round{Start: start, Count: count, SumNs: gained.Sum, P50Ns: p50})
	if len(s.rounds) > mostRounds {
		s.rounds = slices.Delete(s.rounds, 0, len(s.rounds)-mostRounds)
	}
	s.before = s.total
}

func newCollection(k *kernel) *collection {
	c := &collection{kernel: k, paths: map[int]*pathState{}, rows: map[int]*rowState{}, waiting: map[int]*[3]*series{}, gone: map[int]int{}}
	for i := range c.null {
		c.null[i] = newSeries(k.mem.shards)
	}
	return c
}

// read brings everything up to date.
func (c *collection) read(t *Tracer) {
	mem := c.kernel.mem
	for i := range mem.paths.count {
		path := mem.paths.at(i)
		if atomic.LoadUint32(&path.Ready) == 0 {
			continue
		}
		state := c.paths[i]
		if state == nil {
			if state = c.discover(path, t); state == nil {
				continue
			}
			c.paths[i] = state
		}
		state.read(mem)
	}
	c.readRows()
	for i := range c.null {
		readSeries(c.null[i], mem.null, i, mem.shards)
	}
	for number, target := range t.targets {
		if target != nil {
			c.readWaiting(number)
		}
	}
}

func (c *collection) readWaiting(number int) {
	mem := c.kernel.mem
	of := c.waiting[number]
	if of == nil {
		if !mem.waits(number) {
			return // most of many targets have nothing yet: a series takes 30 kB
		}
		of = &[3]*series{newSeries(mem.shards), newSeries(mem.shards), newSeries(mem.shards)}
		c.waiting[number] = of
	}
	for what := range of {
		readSeries(of[what], mem.waiting, number*3+what, mem.shards)
	}
}

func readSeries(s *series, from array[bpf.KernelVtHist], block, shards int) {
	for shard := range shards {
		s.read(shard, from.at(block*shards+shard))
	}
}

// discover takes a path over that the kernel has made; nil for a target that has gone.
func (c *collection) discover(path *bpf.KernelVtPath, t *Tracer) *pathState {
	number := int(path.Target) - 1
	if number < 0 || number >= len(t.targets) || t.targets[number] == nil || int(path.Stamps) > bpf.Stamps {
		return nil
	}
	state := &pathState{
		key: path.Key, id: c.pathID(path.Key, path.Peer), target: t.targets[number], peer: path.Peer,
		egress:   path.Direction == uint8(bpf.KernelVtDirectionVT_EGRESS),
		protocol: path.Protocol, flags: path.Flags, found: time.Now(),
	}
	for i := range min(int(path.Stamps), int(path.Blocks)) {
		state.hooks = append(state.hooks, journey.Hook(path.Hook[i]))
		state.ifindex = append(state.ifindex, int(path.Ifindex[i]))
		state.blocks = append(state.blocks, path.Block[i])
		state.series = append(state.series, newSeries(c.kernel.mem.shards))
	}
	return state
}

func (p *pathState) read(mem *memory) {
	for i, s := range p.series {
		readSeries(s, mem.hists, int(p.blocks[i]), mem.shards)
	}
}

// pathID is a path's name. A number that is another target's now makes another path.
func (c *collection) pathID(key uint64, peer uint16) string {
	if number, ok := targetOfPeer(peer); ok {
		key ^= uint64(c.gone[number]) * golden
	}
	return pathID(key)
}

// targetOfPeer is the number of the target at a path's other end.
func targetOfPeer(peer uint16) (number int, ok bool) {
	const first, end = uint16(bpf.KernelVtPeerVT_PEER_TARGET), uint16(bpf.KernelVtPeerVT_PEER_FOREIGN)
	return int(peer) - int(first), peer >= first && peer < end
}

// retire keeps what a target's paths, and its peers' to it, have seen and gives
// their room back.
func (c *collection) retire(target *target, t *Tracer) {
	c.read(t)
	mem := c.kernel.mem
	for i, state := range c.paths {
		if number, ok := targetOfPeer(state.peer); state.target != target && (!ok || number != target.number) {
			continue
		}
		t.hold(state)
		state.peerName, state.peerDevices = t.peer(state), t.devicesOfPeer(state.target, state.peer)
		state.end = time.Now()
		path := mem.paths.at(i)
		atomic.StoreUint32(&path.Ready, 0)
		c.freeBlocks(state.blocks)
		c.retireRows(state)
		atomic.StoreUint64(&path.Key, 0)
		delete(c.paths, i)
		c.retired = append(c.retired, state)
	}
	c.gone[target.number]++
}

// all returns the paths of all targets, also of those that have gone.
func (c *collection) all() []*pathState {
	return append(slices.Collect(maps.Values(c.paths)), c.retired...)
}

// byTarget returns the paths of each target, those with the same key as neighbours.
func (c *collection) byTarget() map[*target][]*pathState {
	found := map[*target][]*pathState{}
	for _, state := range c.all() {
		found[state.target] = append(found[state.target], state)
	}
	for _, states := range found {
		slices.SortFunc(states, func(a, b *pathState) int { return cmp.Compare(a.key, b.key) })
	}
	return found
}

// collectRounds reads the kernel's memory once per interval until ctx ends.
func (t *Tracer) collectRounds(ctx context.Context) {
	ticker := time.NewTicker(t.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t.mu.Lock()
		t.endRound()
		t.mu.Unlock()
	}
}

// endRound closes a round of every latency; t.mu is held.
func (t *Tracer) endRound() {
	start := max(0, time.Since(t.start)-t.cfg.Interval)
	t.seen.read(t)
	t.forget(time.Now())
	if t.cfg.NoRounds {
		return
	}
	for _, state := range t.seen.paths {
		for _, s := range state.series {
			s.round(start)
		}
	}
	for _, of := range t.seen.waiting {
		for _, s := range of {
			s.round(start)
		}
	}
}
