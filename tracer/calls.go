package tracer

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/vethtrace/vethtrace/bpf"
)

// Where functions are probed: rows for them, and blocks of histograms beside
// those of paths. A path at detail functions has about forty rows.
const (
	functionRows   = 4096
	functionBlocks = 8192
)

// rowState is a row of the kernel's table of functions.
type rowState struct {
	hop, depth           int
	function             uint8
	blocks               [2]uint32
	inclusive, exclusive *series
	since                uint64 // ns from the hop's begin, of all calls
}

// readRows brings the functions of all paths up to date.
func (c *collection) readRows() {
	mem := c.kernel.mem
	var byKey map[uint64]*pathState
	for i := range mem.rows.count {
		row := mem.rows.at(i)
		if atomic.LoadUint32(&row.Ready) == 0 || row.Blocks != 2 {
			continue
		}
		state := c.rows[i]
		if state == nil {
			if byKey == nil {
				byKey = c.byKey()
			}
			of := byKey[row.Path]
			if of == nil {
				continue // of a target that has gone meanwhile
			}
			state = &rowState{
				hop: int(row.Hop), depth: int(row.Depth), function: row.Function, blocks: row.Block,
				inclusive: newSeries(mem.shards), exclusive: newSeries(mem.shards),
			}
			c.rows[i] = state
			of.rows = append(of.rows, state)
		}
		readSeries(state.inclusive, mem.hists, int(state.blocks[0]), mem.shards)
		readSeries(state.exclusive, mem.hists, int(state.blocks[1]), mem.shards)
		state.since = atomic.LoadUint64(&row.Since)
	}
}

func (c *collection) byKey() map[uint64]*pathState {
	byKey := make(map[uint64]*pathState, len(c.paths))
	for _, state := range c.paths {
		byKey[state.key] = state
	}
	return byKey
}

// retireRows gives the rows of a path back to the kernel.
func (c *collection) retireRows(of *pathState) {
	mem := c.kernel.mem
	for i, state := range c.rows {
		if !slices.Contains(of.rows, state) {
			continue
		}
		row := mem.rows.at(i)
		atomic.StoreUint32(&row.Ready, 0)
		c.freeBlocks(state.blocks[:])
		row.Since = 0
		atomic.StoreUint64(&row.Key, 0)
		delete(c.rows, i)
	}
}

// freeBlocks clears histograms and gives them to the next path.
func (c *collection) freeBlocks(blocks []uint32) {
	mem := c.kernel.mem
	for _, block := range blocks {
		for shard := range mem.shards {
			*mem.hists.at(int(block)*mem.shards + shard) = bpf.KernelVtHist{}
		}
		// full is impossible: each block is in the queue or in one path
		_ = c.kernel.maps.VtFree.Put(nil, block)
	}
}

// calls are the functions of one hop of a path, in the order in which a packet
// enters them, and the hop without them; nothing where none was entered.
func (t *Tracer) calls(state *pathState, hop int) (own *Latency, calls []Function) {
	for _, row := range state.rows {
		count := row.inclusive.total.Count()
		if row.hop != hop || count == 0 {
			continue
		}
		if own == nil {
			own = &Latency{}
		}
		if row.function == 0 {
			own.Hist.Merge(&row.exclusive.total)
			continue
		}
		calls = append(calls, Function{
			Name: t.functions.names[row.function], Depth: row.depth, SinceNs: float64(row.since) / float64(count),
			Inclusive: row.inclusive.latency(Null{}), Exclusive: row.exclusive.latency(Null{}),
		})
	}
	slices.SortStableFunc(calls, func(a, b Function) int {
		return cmp.Or(cmp.Compare(a.SinceNs, b.SinceNs), cmp.Compare(a.Depth, b.Depth))
	})
	return own, mergeCalls(nil, calls)
}

// mergeOwn adds a hop's own time to that of the same hop.
func mergeOwn(to, own *Latency) *Latency {
	if to == nil || own == nil {
		return cmp.Or(to, own)
	}
	to.Hist.Merge(&own.Hist)
	return to
}

// ownSince is what a hop's own time gained after prev.
func ownSince(now, prev *Latency) *Latency {
	if now == nil || prev == nil {
		return now
	}
	gained := now.since(*prev, 0)
	return &gained
}

// mergeCalls adds calls to those of the same functions.
func mergeCalls(to, calls []Function) []Function {
	for _, call := range calls {
		at := slices.IndexFunc(to, func(f Function) bool { return f.Name == call.Name })
		if at < 0 {
			to = append(to, call)
			continue
		}
		same := &to[at]
		n, m := float64(same.Inclusive.Hist.Count()), float64(call.Inclusive.Hist.Count())
		if n+m > 0 {
			same.SinceNs = (same.SinceNs*n + call.SinceNs*m) / (n + m)
		}
		same.Inclusive.Hist.Merge(&call.Inclusive.Hist)
		same.Exclusive.Hist.Merge(&call.Exclusive.Hist)
	}
	return to
}

// since is what these calls gained after prev.
func callsSince(now, prev []Function) []Function {
	var d []Function
	for _, f := range now {
		at := slices.IndexFunc(prev, func(p Function) bool { return p.Name == f.Name })
		if at >= 0 {
			was := prev[at]
			total, before := float64(f.Inclusive.Hist.Count()), float64(was.Inclusive.Hist.Count())
			f.Inclusive = f.Inclusive.since(was.Inclusive, 0)
			f.Exclusive = f.Exclusive.since(was.Exclusive, 0)
			if total > before {
				f.SinceNs = (f.SinceNs*total - was.SinceNs*before) / (total - before)
			}
		}
		if f.Inclusive.Hist.Count() > 0 {
			d = append(d, f)
		}
	}
	return d
}
