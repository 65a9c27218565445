// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	draw "github.com/vethtrace/vethtrace/exporter/wiring"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/wiring"
	"github.com/vethtrace/vethtrace/tracer/wiring/probe"
)

const topologyHelp = `vethtrace topology draws how containers are connected: uplink, bridge, veth pairs with both ends,
namespaces, addresses, published ports with the rules that decide about them, listening sockets,
userland proxies. Without --container, --pid or --netns: all running containers.

With --from and --to it explains the way of a connection's first packet instead, step by step with
the rule that decides each, what becomes of it, and the way of the answer. The rules are read and
evaluated; no packet is sent, nothing is attached, nothing changes.

With --watch it prints what changes, as it happens, a dated line each: containers, devices, addresses,
published ports, rules, sets, chains. Ctrl-C ends it.

Exit status: 0 done, 1 failed, 2 usage, 3 not allowed by the rights, 4 no such target.`

const topologyExample = `  vethtrace topology
  vethtrace topology --container nginx -o svg > nginx.svg
  vethtrace topology --container nginx --from 198.51.100.2 --to :8080/tcp
  vethtrace topology --watch --duration 1m -o ndjson`

// The outputs that only this command has.
const (
	outputDot     = "dot"
	outputMermaid = "mermaid"
	outputSVG     = "svg"
)

// topologyOptions say what to draw.
type topologyOptions struct {
	targets  targetOptions
	from, to string
	output   string
	noColor  bool
	watch    bool
	duration time.Duration
	query    *wiring.Query // nil without --from and --to
	watching bool          // what has ended since is no error
}

func newTopology(s streams) *cobra.Command {
	var o topologyOptions
	cmd := &cobra.Command{
		Use:     "topology [flags]",
		Short:   "How containers are connected, and the way their packets take",
		Long:    topologyHelp,
		Example: topologyExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			if o.watch {
				return o.follow(cmd.Context(), s)
			}
			return o.run(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.targets.containers, "container", nil, "draw the container of this `NAME` or id prefix; may be given several times")
	f.StringSliceVar(&o.targets.pidTexts, "pid", nil, "draw the network namespace of this `PROCESS`, without an engine")
	f.StringArrayVar(&o.targets.netns, "netns", nil, "draw the network namespace of this `PATH` or name, without an engine")
	f.StringVar(&o.from, "from", "", "explain the way of a packet from this `ADDRESS`")
	f.StringVar(&o.to, "to", "", "and to this `[ADDRESS]:PORT/PROTO`, for example :8080/tcp; without address to the host")
	f.StringVarP(&o.output, "output", "o", outputText, "`FORMAT`: text, json, dot, mermaid or svg; with --watch text or ndjson")
	f.BoolVar(&o.watch, "watch", false, "print changes as they happen")
	f.DurationVar(&o.duration, "duration", 0, "end --watch after this `TIME`; 0: when interrupted")
	o.targets.registerEngine(cmd)
	f.BoolVar(&o.noColor, "no-color", false, "no colors (also: NO_COLOR=1)")
	mustRegister(cmd, "container", o.targets.completeContainers)
	mustRegister(cmd, "netns", completeNetns)
	complete(cmd, "output", outputText, outputJSON, outputNDJSON, outputDot, outputMermaid, outputSVG)
	return cmd
}

func (o *topologyOptions) check(args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q: to draw a container say --container %s", args[0], args[0])
	}
	o.targets.maxTargets = mostTargets
	if err := errors.Join(o.targets.parsePIDs(), o.targets.checkEngine()); err != nil {
		return err
	}
	if err := o.checkWatch(); err != nil {
		return err
	}
	if o.from == "" && o.to == "" {
		return nil
	}
	if o.from == "" || o.to == "" {
		return usagef("--from and --to need each other: for example --from 198.51.100.2 --to :8080/tcp")
	}
	from, err := netip.ParseAddr(o.from)
	if err != nil || from.Zone() != "" {
		return usagef("--from %q: want an address such as 198.51.100.2", o.from)
	}
	o.query = &wiring.Query{From: from.Unmap()}
	if err := parseTo(o.to, o.query); err != nil {
		return err
	}
	if to := o.query.To.Addr(); to.IsValid() && to.Is4() != o.query.From.Is4() {
		return usagef("--from %s and --to %s are of two families: no packet has both", o.query.From, to)
	}
	if o.output != outputText && o.output != outputJSON {
		return usagef("--output %s draws no way of a packet: want text or json", o.output)
	}
	return nil
}

// parseTo reads [ADDR]:PORT/PROTO, or ADDR/icmp.
func parseTo(s string, q *wiring.Query) error {
	wrong := usagef("--to %q: want [ADDRESS]:PORT/PROTO, for example :8080/tcp, 192.0.2.1:53/udp, [2001:db8::1]:80/tcp or 192.0.2.1/icmp", s)
	where, name, ok := strings.Cut(s, "/")
	if !ok {
		name = "tcp"
	}
	if q.Proto, ok = wiring.ParseProtocol(name); !ok {
		return wrong
	}
	if q.Proto == rules.ICMP || q.Proto == rules.ICMPv6 {
		addr, err := netip.ParseAddr(where)
		if where != "" && err != nil || addr.Zone() != "" {
			return wrong
		}
		q.To = netip.AddrPortFrom(addr.Unmap(), 0)
		return nil
	}
	if port, found := strings.CutPrefix(where, ":"); found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return wrong
		}
		q.To = netip.AddrPortFrom(netip.Addr{}, uint16(n))
		return nil
	}
	to, err := netip.ParseAddrPort(where)
	if err != nil || to.Port() == 0 || to.Addr().Zone() != "" {
		return wrong
	}
	q.To = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	return nil
}

func (o *topologyOptions) run(ctx context.Context, s streams) error {
	facts, err := o.read(ctx)
	if err != nil {
		return err
	}
	d := facts.Document(versionText())
	if o.query != nil {
		d.Ways = append(d.Ways, facts.Explain(*o.query))
	}
	return o.write(s.out, d, colored(s.out, o.noColor))
}

func (o *topologyOptions) write(w io.Writer, d wiring.Document, color bool) error {
	switch o.output {
	case outputJSON:
		return draw.JSON(w, d)
	case outputDot:
		return draw.Dot(w, d)
	case outputMermaid:
		return draw.Mermaid(w, d)
	case outputSVG:
		return draw.SVG(w, d)
	}
	return draw.Text(w, d, draw.Options{Color: color})
}

// read asks the engine, if there is one, and the kernel.
func (o *topologyOptions) read(ctx context.Context) (*wiring.Facts, error) {
	host, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("open our own network namespace: %w", err)
	}
	defer host.Close()
	cfg, notes, err := o.config(ctx, host)
	if err != nil {
		return nil, err
	}
	facts, err := probe.Read(cfg)
	if err != nil {
		return nil, err
	}
	facts.Notes = append(facts.Notes, notes...)
	return facts, nil
}

// config says what to read. The notes say why there are no containers.
func (o *topologyOptions) config(ctx context.Context, host *netns.NS) (cfg probe.Config, notes []string, err error) {
	cfg = probe.Config{Host: host, Rules: o.query != nil}
	named := len(o.targets.containers)+len(o.targets.pids)+len(o.targets.netns) > 0
	cfg.Whole = !named
	// The way of a packet may lead to, and begin at, any container.
	all, notes, err := o.fromEngine(ctx, &cfg, !named || o.query != nil && len(o.targets.containers) > 0)
	if err != nil {
		return cfg, nil, err
	}
	others, err := o.local()
	if err != nil {
		return cfg, nil, err
	}
	for _, m := range group(append(all, others...), host.Inode()) {
		cfg.Targets = append(cfg.Targets, probe.Target{Container: m.Container, Aliases: m.aliases})
	}
	return cfg, notes, nil
}

// fromEngine finds containers and networks. Where nothing was named an engine
// that does not answer is a note: the bridges are there without it.
func (o *topologyOptions) fromEngine(ctx context.Context, cfg *probe.Config, whole bool) (found []container.Container, notes []string, err error) {
	named := o.targets.containers
	if len(named) == 0 && !whole || o.targets.runtime == string(container.RuntimeNone) {
		return nil, nil, nil
	}
	engine, err := o.targets.engine()
	if err != nil {
		return nil, nil, err
	}
	defer engine.Close()
	if cfg.Networks, err = engine.Networks(ctx); err != nil {
		var unreachable *container.EngineError
		if len(named) == 0 && o.targets.dockerHost == "" && o.targets.runtime == string(container.RuntimeAuto) && errors.As(err, &unreachable) {
			return nil, []string{"no containers are drawn: " + oneLine(err)}, nil
		}
		return nil, nil, err
	}
	notes = silent(engine)
	for _, name := range named {
		c, err := engine.Find(ctx, name)
		if o.watching && statusOf(err) == exitNoTarget {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		found = append(found, c)
	}
	if !whole {
		return found, notes, nil
	}
	list, err := engine.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	return append(found, list...), notes, nil
}

// silent are notes of the engines that did not answer beside those that did.
func silent(engine container.Engine) (notes []string) {
	quiet, ok := engine.(interface{ Silent() []error })
	if !ok {
		return nil
	}
	for _, err := range quiet.Silent() {
		notes = append(notes, "not all containers are drawn: "+oneLine(err))
	}
	return notes
}

// local finds what was named without an engine.
func (o *topologyOptions) local() ([]container.Container, error) {
	var found []container.Container
	for _, pid := range o.targets.pids {
		c, err := container.FromPID(pid)
		if err != nil && o.watching {
			continue
		}
		if err != nil {
			return nil, explainTarget(err, howPID)
		}
		found = append(found, c)
	}
	for _, path := range o.targets.netns {
		c, err := container.FromNetns(path)
		if err != nil && o.watching {
			continue
		}
		if errors.Is(err, netns.ErrNotNamespace) {
			return nil, notNamespace(path, err)
		}
		if err != nil {
			return nil, explainTarget(err, howNetns)
		}
		found = append(found, c)
	}
	return found, nil
}
