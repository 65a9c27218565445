// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/otel"

	"github.com/vethtrace/vethtrace/exporter/otlp"
	"github.com/vethtrace/vethtrace/tracer"
)

// textfilePause is how often --textfile is written: as often as node_exporter is usually scraped.
const textfilePause = 15 * time.Second

// outlets starts what writes and pushes beside the server.
func (x *exporter) outlets(side *together) error {
	if x.options.textfile != "" {
		if err := x.writeFile(); err != nil { // one that cannot be written is told at once
			return err
		}
		side.start(x.keepFile)
	}
	if x.options.otlpEndpoint == "" {
		return nil
	}
	pusher, err := x.pusher(side.ctx)
	if err != nil {
		return err
	}
	side.start(func(ctx context.Context) error {
		<-ctx.Done()
		if err := pusher.Stop(context.WithoutCancel(ctx)); err != nil {
			x.log.Warn("the last figures are not pushed", "error", err)
		}
		return nil
	})
	return nil
}

func (x *exporter) pusher(ctx context.Context) (*otlp.Pusher, error) {
	// The SDK tells its errors only this way, to the whole process.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		x.log.Warn("metrics are not pushed", "endpoint", x.options.otlpEndpoint, "error", err)
	}))
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("tell this machine's name: %w", err)
	}
	pusher, err := otlp.New(context.WithoutCancel(ctx), otlp.Config{
		Endpoint: x.options.otlpEndpoint, Metrics: x.all, Interval: x.options.otlpInterval,
		Version: versionText(), Host: host,
	})
	if err != nil {
		return nil, usagef("--otlp: %v", err)
	}
	return pusher, nil
}

// keepFile writes the file until the end, and then once more. A disk that is
// full now may not be later.
func (x *exporter) keepFile(ctx context.Context) error {
	tick := time.NewTicker(textfilePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return x.writeFile()
		case <-tick.C:
			if err := x.writeFile(); err != nil {
				x.log.Error("metrics are not written", "error", err)
			}
		}
	}
}

// checkFile tells of a --textfile that cannot be written before there is
// anything to write: --once would trace for nothing.
func (x *exporter) checkFile() error {
	file := x.options.textfile
	if file == "" {
		return nil
	}
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return usagef("--textfile %s: is there, and is no regular file that could be replaced", file)
	}
	probe, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file))
	if err != nil {
		return fmt.Errorf("write metrics to %s: %w", file, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func (x *exporter) writeFile() error {
	if err := prometheus.WriteToTextfile(x.options.textfile, x.own); err != nil {
		return fmt.Errorf("write metrics to %s: %w", x.options.textfile, err)
	}
	return nil
}

// once traces for its time, or until it is told to end, and gives what was
// seen, whole, when everything is detached.
func (x *exporter) once(ctx context.Context, t *tracer.Tracer, over <-chan struct{}) error {
	var push *otlp.Pusher
	if x.options.otlpEndpoint != "" {
		var err error
		if push, err = x.pusher(ctx); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
	case <-over:
		x.log.Info("all targets have ended")
	case <-time.After(x.options.duration):
	}
	if err := t.Stop(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	var pushed error // what is not pushed is written all the same
	if push != nil {
		pushed = push.Stop(context.WithoutCancel(ctx))
	}
	if x.options.textfile != "" {
		return errors.Join(pushed, x.writeFile())
	}
	return errors.Join(pushed, x.print())
}

// print writes our own metrics as text.
func (x *exporter) print() error {
	families, err := x.own.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			return fmt.Errorf("write %s as text: %w", family.GetName(), err)
		}
	}
	if _, err := text.WriteTo(x.streams.out); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
