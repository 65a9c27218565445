// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
)

// The load in the throw-away world: bursts, until there is a zero line of each
// kind of hook, or no more are to be had.
const (
	burst       = 25
	leastBursts = 8
	mostBursts  = 60
	burstPause  = 25 * time.Millisecond
	hostPort    = 8081
	publicPort  = 8080
	kindsOfHook = 3               // with a zero line: tcx (or device), netfilter, tracepoint
	trialLimit  = 5 * time.Minute // an emulated machine needs more than one
)

// try makes the world, tries every hook in it, and then a run.
func try(ctx context.Context, version string) (t doctor.Trial) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	// No rules: they would need a program of the machine's, and no hook needs them.
	world, err := lab.New(ctx, lab.Config{Rules: lab.RulesNone})
	if err != nil {
		return doctor.Trial{WorldErr: err}
	}
	defer func() {
		if err := world.Close(); err != nil && t.Run.Err == nil {
			t.Run.Err = fmt.Errorf("take the throw-away world away: %w", err)
		}
	}()
	nginx := world.Container("nginx")
	spec := tracer.TargetSpec{
		Name: "bridge-mode", Mode: "bridge", PID: nginx.PID, Netns: nginx.NS,
		Ports: []tracer.Port{{Host: netip.AddrPortFrom(netip.IPv4Unspecified(), publicPort), Container: lab.PortHTTP, Protocol: "tcp"}},
	}
	t.Hooks, t.HooksErr = tracer.TryHooks(tracer.Config{Host: world.Host.NS}, spec)
	t.Functions, t.FunctionsErr = tracer.TryFunctions(tracer.Config{Host: world.Host.NS})
	t.Run = run(ctx, world, spec, version)
	return t
}

// run traces a container and a process in host mode for as long as it takes to
// see packets of both, and what a stamp costs.
func run(ctx context.Context, world *lab.World, spec tracer.TargetSpec, version string) (r doctor.Run) {
	r.Detail = tracer.DetailHooks
	web, err := world.StartHostMode(ctx, hostPort)
	if err != nil {
		r.Err = fmt.Errorf("start a server in the throw-away world: %w", err)
		return r
	}
	begin := time.Now()
	// KeepWindows: the null hops are there all the time, whatever the machine does meanwhile.
	t, err := tracer.Open(ctx, tracer.Config{Host: world.Host.NS, Version: version, KeepWindows: true}, spec, hostMode(world.Host.NS, web))
	if err != nil {
		r.Err = err
		return r
	}
	defer func() { r.Err = errors.Join(r.Err, t.Close()) }()
	r.Attach = time.Since(begin)
	if r.Err = load(ctx, world, t); r.Err != nil {
		return r
	}
	begin = time.Now()
	if err := t.Stop(); err != nil {
		r.Err = fmt.Errorf("detach: %w", err)
		return r
	}
	r.Detach = time.Since(begin)
	r.Seen, r.Err = t.Snapshot()
	return r
}

func hostMode(host *netns.NS, web *lab.HostMode) tracer.TargetSpec {
	return tracer.TargetSpec{
		Name: "host-mode", Mode: "host", PID: web.PID, Netns: host,
		Listeners: []tracer.Listener{{Protocol: "tcp", Port: web.HTTP}},
	}
}

// load sends requests to both servers. That there is an answer is what the world
// is for; that it was seen is judged later.
func load(ctx context.Context, world *lab.World, t *tracer.Tracer) error {
	urls := []string{
		fmt.Sprintf("http://%s:%d/", world.Container("nginx").IP4, lab.PortHTTP),
		fmt.Sprintf("http://%s:%d/", world.Host.IP4, hostPort),
	}
	for n := range mostBursts {
		for _, url := range urls {
			result, err := world.Client.HTTP(ctx, url, burst, lab.LoadConfig{KeepAlive: true})
			if err == nil && result.Done == 0 {
				err = result.Last
			}
			if err != nil {
				return fmt.Errorf("send packets through the throw-away world: %w", err)
			}
		}
		s, err := t.Snapshot()
		if err != nil {
			return err
		}
		if n >= leastBursts && len(s.Observer.StampNs) >= kindsOfHook {
			return nil
		}
		time.Sleep(burstPause)
	}
	return nil
}
