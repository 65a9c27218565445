package tracer

import (
	"sync/atomic"

	"github.com/vethtrace/vethtrace/bpf"
)

// counts are the kernel's counters of one target and direction.
type counts struct {
	Started, Cloned, Completed, Dropped, Merged, Evicted, Expired, Unpathed uint64
	Skipped                                                                 [bpf.KernelVtSkipVT_SKIP_MAX]uint64
}

func (c *counts) add(a *bpf.KernelVtAccount) {
	c.Started += loadCounter(&a.Started)
	c.Cloned += loadCounter(&a.Cloned)
	c.Completed += loadCounter(&a.Completed)
	c.Dropped += loadCounter(&a.Dropped)
	c.Merged += loadCounter(&a.Merged)
	c.Evicted += loadCounter(&a.Evicted)
	c.Expired += loadCounter(&a.Expired)
	c.Unpathed += loadCounter(&a.Unpathed)
	for i := range c.Skipped {
		c.Skipped[i] += loadCounter(&a.Skipped[i])
	}
}

func (c *counts) subtract(base counts) {
	c.Started -= base.Started
	c.Cloned -= base.Cloned
	c.Completed -= base.Completed
	c.Dropped -= base.Dropped
	c.Merged -= base.Merged
	c.Evicted -= base.Evicted
	c.Expired -= base.Expired
	c.Unpathed -= base.Unpathed
	for i := range c.Skipped {
		c.Skipped[i] -= base.Skipped[i]
	}
}

func (c counts) accounting(cut, inFlight uint64) Accounting {
	return Accounting{
		Started: c.Started, Cloned: c.Cloned, Completed: c.Completed, Dropped: c.Dropped, Merged: c.Merged,
		Evicted: c.Evicted, Expired: c.Expired, Cut: cut, InFlight: inFlight,
	}
}

func (c counts) skips() []Skip {
	names := map[bpf.KernelVtSkip]string{
		bpf.KernelVtSkipVT_SKIP_NOT_IP:    "not-ip",
		bpf.KernelVtSkipVT_SKIP_FILTERED:  "filtered",
		bpf.KernelVtSkipVT_SKIP_ATTACHING: "not-attached",
		bpf.KernelVtSkipVT_SKIP_GROUP:     "not-joined",
	}
	var skips []Skip
	for i, count := range c.Skipped {
		if count > 0 {
			skips = append(skips, Skip{Reason: names[bpf.KernelVtSkip(i)], Count: count})
		}
	}
	return skips
}

// loadCounter reads a counter that the kernel adds to meanwhile.
func loadCounter(p *uint64) uint64 { return atomic.LoadUint64(p) }
