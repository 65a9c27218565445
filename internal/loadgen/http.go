// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// openHTTP makes the client; its connections outlive a round.
func (o *clientOrders) openHTTP() func(time.Duration) (Round, error) {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: exchangeTimeout}).DialContext,
		MaxIdleConnsPerHost: o.Load.Connections, MaxConnsPerHost: o.Load.Connections,
		DisableKeepAlives: o.Load.NewEach, DisableCompression: true,
	}
	client := &http.Client{Transport: transport, Timeout: 5 * exchangeTimeout}
	targeter := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: "http://" + o.To.String() + "/"})
	return func(length time.Duration) (Round, error) {
		attacker := vegeta.NewAttacker(
			vegeta.Client(client), vegeta.Workers(uint64(o.Load.Connections)), vegeta.MaxWorkers(uint64(o.Load.Connections)),
		)
		p := &pacer{rate: o.Load.Rate, length: length}
		return collect(attacker.Attack(targeter, p, 0, ""), p), nil
	}
}

// pacer is a closed loop for so long (each worker's next request follows its
// answer), or an open loop of as many requests as are due in that time: all are
// sent, however late they are.
type pacer struct {
	rate   float64
	length time.Duration

	mu    sync.Mutex
	began time.Time // of the attack
}

// Pace implements vegeta.Pacer.
func (p *pacer) Pace(elapsed time.Duration, hits uint64) (wait time.Duration, stop bool) {
	p.mu.Lock()
	if p.began.IsZero() {
		p.began = time.Now().Add(-elapsed)
	}
	p.mu.Unlock()
	if p.rate == 0 {
		return 0, elapsed >= p.length
	}
	if float64(hits) >= math.Round(p.rate*p.length.Seconds()) {
		return 0, true
	}
	return max(p.due(hits)-elapsed, 0), false
}

// Rate implements vegeta.Pacer.
func (p *pacer) Rate(time.Duration) float64 { return p.rate }

// due is when a request is to be sent, since the attack began.
func (p *pacer) due(hits uint64) time.Duration {
	return time.Duration(float64(hits) / p.rate * float64(time.Second))
}

// latency of a result. In an open loop it counts from when the request was due:
// a server that is slow does not hide how long those had to wait that came
// meanwhile (coordinated omission).
func (p *pacer) latency(r *vegeta.Result) time.Duration {
	if p.rate == 0 {
		return r.Latency
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(r.Timestamp.Add(r.Latency).Sub(p.began.Add(p.due(r.Seq))), 0)
}

// collect reads the results of an attack until its last request has been answered.
func collect(results <-chan *vegeta.Result, p *pacer) (all Round) {
	begin := time.Now()
	for r := range results {
		if r.Error != "" {
			all.Errors++
			all.Last = r.Error
			continue
		}
		all.Hist.Add(uint64(p.latency(r)))
		all.Bytes += r.BytesIn + r.BytesOut
	}
	all.Busy = time.Since(begin)
	return all
}
