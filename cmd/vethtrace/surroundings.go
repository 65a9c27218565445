// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/environment/probe"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// surroundings reads what a measurement is made in; engine may be nil. Docker's
// settings are read where there is a Docker.
func surroundings(ctx context.Context, host *netns.NS, engine container.Engine) *environment.Environment {
	cfg := probe.Config{Host: host, Tool: versionText()}
	if docker, ok := container.AsDocker(engine); ok {
		cfg.Engine = func() (*environment.Docker, error) { return probe.ReadEngine(ctx, docker.API()) }
	}
	e := probe.Read(cfg)
	return &e
}
