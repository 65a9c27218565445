// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	MaybeChild()
	if kind, ok := os.LookupEnv(worldEnv); ok {
		liveWorld(kind)
	}
	os.Exit(m.Run())
}

// newWorld makes a world that the test closes.
func newWorld(t *testing.T, cfg Config) *World {
	t.Helper()
	w, err := New(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	})
	return w
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
