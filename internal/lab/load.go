// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// exchangeTimeout bounds one exchange of a load; what takes longer counts as an error: longer than a busy machine keeps
// a process from running.
const exchangeTimeout = 3 * time.Second

// Result is what a load did. Errors are exchanges that failed or took too long; a load that could
// not start returns an error instead.
type Result struct {
	Done   int
	Errors int
	RTT    []time.Duration // of the exchanges done, in order of their ends
	Last   error           // of the last exchange that failed
}

// Quantile returns the q-quantile (0 to 1) of the round trips, by nearest rank; 0 if there is none.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.RTT) == 0 {
		return 0
	}
	sorted := slices.Clone(r.RTT)
	slices.Sort(sorted)
	i := int(q*float64(len(sorted))+0.5) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Median returns the 0.5-quantile.
func (r Result) Median() time.Duration { return r.Quantile(0.5) }

func (r *Result) add(rtt time.Duration, err error) {
	if err != nil {
		r.Errors++
		r.Last = err
		return
	}
	r.Done++
	r.RTT = append(r.RTT, rtt)
}

// LoadConfig shapes an HTTP load.
type LoadConfig struct {
	KeepAlive   bool // one connection for many requests
	Connections int  // at once; 0 means 1
}

// HTTP sends n GET requests from the node; url must name the server by address. Any status but 200
// is an error. It ends early, with ctx's error, when ctx ends.
func (n *Node) HTTP(ctx context.Context, url string, count int, cfg LoadConfig) (Result, error) {
	conns := max(1, cfg.Connections)
	transport := &http.Transport{
		DialContext: n.Dial, DisableKeepAlives: !cfg.KeepAlive, DisableCompression: true,
		MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * exchangeTimeout}
	if _, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil); err != nil {
		return Result{}, fmt.Errorf("start HTTP load: %w", err)
	}
	var (
		res  Result
		mu   sync.Mutex
		wait sync.WaitGroup
		work = make(chan struct{})
	)
	for range conns {
		wait.Go(func() {
			for range work {
				start := time.Now()
				err := get(ctx, client, url)
				rtt := time.Since(start)
				mu.Lock()
				res.add(rtt, err)
				mu.Unlock()
			}
		})
	}
feed:
	for range count {
		select {
		case work <- struct{}{}:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wait.Wait()
	return res, ctx.Err()
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: status %s", url, resp.Status)
	}
	return nil
}

// Get fetches one page from the node and returns its status code and its body (at most 1 MiB).
func (n *Node) Get(ctx context.Context, url string) (status int, body []byte, err error) {
	transport := &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("get %s: %w", url, err)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 2 * exchangeTimeout}).Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("get from %s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return resp.StatusCode, body, fmt.Errorf("get %s: %w", url, err)
	}
	return resp.StatusCode, body, nil
}

// Dial connects from inside the node. The address must be numeric: names would be looked up by
// goroutines that are not in the node.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from %s: %w", n.Name, err)
	}
	var conn net.Conn
	err := n.NS.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// rounds runs exchanges one after the other on a thread inside the node.
func (n *Node) rounds(ctx context.Context, count int, one func() error) (Result, error) {
	res := Result{RTT: make([]time.Duration, 0, count)}
	for range count {
		if err := ctx.Err(); err != nil {
			return res, err
		}
		start := time.Now()
		err := one()
		res.add(time.Since(start), err)
	}
	return res, nil
}

// errTimeout is an exchange that took longer than exchangeTimeout.
var errTimeout = errors.New("no answer in time")
