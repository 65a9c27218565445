// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/promslog"
	promversion "github.com/prometheus/common/version"
	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/exporter/prom"
	"github.com/vethtrace/vethtrace/exporter/serve"
	"github.com/vethtrace/vethtrace/tracer"
)

const exportHelp = `export traces all containers of this machine, those to come too, and answers Prometheus on ` + serve.DefaultAddress + `.

Latencies per hop and path are native histograms, and classic ones for scrapers without them. docs/exporter.md
tells every metric. It ends at SIGTERM or SIGINT; nothing stays attached.`

const exportExample = `  vethtrace export
  vethtrace export --label com.docker.compose.project=shop
  vethtrace export --web.listen-address :19787 --web.config.file web.yml
  vethtrace export --once --duration 30s --textfile /var/lib/node_exporter/vethtrace.prom
  vethtrace export --otlp http://127.0.0.1:4318`

func newExport(s streams) *cobra.Command {
	o := newExportOptions()
	cmd := &cobra.Command{
		Use:     "export [flags]",
		Short:   "Serve metrics for Prometheus, or push them by OTLP",
		Long:    exportHelp,
		Example: exportExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, args); err != nil {
				return err
			}
			return export(cmd.Context(), s, o)
		},
	}
	o.register(cmd)
	return cmd
}

// exporter is one run of vethtrace export.
type exporter struct {
	options  *exportOptions
	streams  streams
	log      *slog.Logger
	own      *prom.Joined // our own metrics: those of files too
	all      *prom.Joined // and those of the process
	journeys *prom.Journeys
	ready    atomic.Bool
}

// export checks what was asked for, finds the targets, traces and serves.
func export(ctx context.Context, s streams, o *exportOptions) error {
	x, err := newExporter(s, o)
	if err != nil {
		return err
	}
	cfg, err := o.config(x.log)
	if err != nil {
		return err
	}
	server, err := x.server()
	if err != nil {
		return err
	}
	if err := x.checkFile(); err != nil {
		return err
	}
	if err := checkRights(); err != nil {
		return err
	}
	found, err := o.targets.find(ctx, x.log)
	if err != nil {
		return explainRights(err)
	}
	defer found.close()
	found.configure(&cfg)
	specs, err := found.specs(cfg)
	if err != nil {
		return explainRights(explainLimit(err))
	}
	err = x.run(ctx, server, cfg, specs, found)
	return explainRights(explainWay(explainLimit(errors.Join(err, closeSpecs(specs)))))
}

func newExporter(s streams, o *exportOptions) (*exporter, error) {
	promversion.Version = versionText() // which the collector reads
	x := &exporter{
		options: o, streams: s, own: &prom.Joined{}, all: &prom.Joined{}, journeys: prom.NewJourneys(),
		log: promslog.New(&promslog.Config{Level: o.level, Format: o.format, Writer: s.err}),
	}
	build, process := prometheus.NewRegistry(), prometheus.NewRegistry()
	x.own.Add(build)
	x.all.Add(x.own)
	// the first thread's namespace is another one for a moment now and then, and so are its devices' counters
	x.all.Add(prom.Without(process, "process_network_"))
	err := errors.Join(
		build.Register(versioncollector.NewCollector("vethtrace")),
		process.Register(collectors.NewGoCollector()),
		process.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return x, nil
}

// server checks where to listen; nil where nobody is served.
func (x *exporter) server() (*serve.Server, error) {
	o := x.options
	if o.once {
		return nil, nil //nolint:nilnil // no server is no error
	}
	server, err := serve.New(serve.Config{
		Addresses: o.addresses, ConfigFile: o.configFile, Insecure: o.insecure, TelemetryPath: o.telemetryPath,
		Version: versionText(), Metrics: x.all.Handler(x.log), Journeys: x.journeys, Ready: x.ready.Load, Log: x.log,
	})
	var public *serve.PublicError
	if errors.As(err, &public) {
		return nil, usagef("%v: name a --web.config.file with TLS and users, or say --insecure", public)
	}
	if err != nil {
		return nil, usagef("%v", err)
	}
	return server, nil
}

// run traces until a signal, the last target's end, the end of --once, or an
// error of what serves.
func (x *exporter) run(ctx context.Context, server *serve.Server, cfg tracer.Config, specs []tracer.TargetSpec, who *found) (err error) {
	ending, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ending, stop) // a second signal ends the process at once
	side := newTogether(ending)
	if server != nil {
		side.start(server.Run) // before attaching, which takes a moment: not ready yet
	}
	defer func() { err = errors.Join(err, side.end()) }()

	begin := time.Now()
	cfg.Spare = spareFiles + scraperFiles + len(specs)
	t, err := tracer.Open(ctx, cfg, specs...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	attending, leave := context.WithCancel(ctx)
	defer leave()
	over := who.attend(attending, t)
	if err := x.expose(t, who); err != nil {
		return err
	}
	x.log.Info("attached", "targets", who.described(), "after", time.Since(begin).Round(time.Millisecond))
	if x.options.once {
		return x.once(side.ctx, t, over)
	}
	if err := x.outlets(side); err != nil {
		return err
	}
	x.ready.Store(true)
	defer x.ready.Store(false)
	select {
	case <-side.ctx.Done():
	case <-over:
		x.log.Info("all targets have ended")
	}
	x.log.Info("ending")
	return side.end() // the last push tells what the tracer still has
}

// expose lets scrapes read the tracer.
func (x *exporter) expose(t *tracer.Tracer, who *found) error {
	form, err := x.options.form()
	if err != nil {
		return err
	}
	cfg := prom.Config{
		Source: t, Form: form, Describe: x.options.targets.known.info, Grace: x.options.grace,
		Ceiling: prom.Ceiling{Containers: x.options.targets.maxTargets}, Journeys: x.journeys, Log: x.log,
	}
	if who.engine != nil {
		cfg.EngineUp = x.options.targets.known.up
	}
	x.own.Add(prom.New(cfg))
	return nil
}

// together is what runs beside the tracer: all of it ends when one fails.
type together struct {
	ctx  context.Context
	stop context.CancelCauseFunc
	done sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

func newTogether(ctx context.Context) *together {
	w := &together{}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	return w
}

// start runs f until it ends by itself, with an error, or all end.
func (w *together) start(f func(ctx context.Context) error) {
	w.done.Go(func() {
		err := f(w.ctx)
		if err == nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errs = append(w.errs, err)
		w.stop(err)
	})
}

// end stops all and tells what failed, once.
func (w *together) end() error {
	w.stop(nil)
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.errs...)
	w.errs = nil
	return err
}
