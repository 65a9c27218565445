// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/vethtrace/vethtrace/internal/refbench"
	"github.com/vethtrace/vethtrace/tracer/container"
)

func (o *benchOptions) dockerWorld(ctx context.Context, engine *container.Docker, cpu int, run *session) (refbench.World, error) {
	return nil, errors.New("todo")
}
