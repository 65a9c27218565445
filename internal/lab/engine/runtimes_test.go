// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"strings"
	"testing"
	"time"
)

func startPodman(t *testing.T, backend string) *Podman {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := StartPodman(ctx, backend, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestPodman: both backends of its networks publish a port.
func TestPodman(t *testing.T) {
	for _, backend := range []string{Netavark, CNI} {
		t.Run(backend, func(t *testing.T) {
			e := startPodman(t, backend)
			if err := e.Import(t.Context(), NginxImage()); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Podman(t.Context(), "run", "-d", "-p", "8080:80", "--name", "nginx", "nginx"); err != nil {
				t.Fatal(err)
			}
			got := answer(t, e.Client, "http://198.51.100.1:8080/whoami")
			if !strings.Contains(got, "198.51.100.2:") || !strings.Contains(got, " -> 10.88.0.2:80") {
				t.Errorf("whoami = %q: not by DNAT", got)
			}
			checkClosed(t, &e.base, e.Close)
		})
	}
}

// TestContainerd: CNI's plugins publish a port of one of its containers.
func TestContainerd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := StartContainerd(ctx, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := e.Import(ctx, "default", NginxImage()); err != nil {
		t.Fatal(err)
	}
	addr, err := e.RunConnected(ctx, "default", "nginx", "nginx1", []Forward{{8080, 80, "tcp"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := answer(t, e.Client, "http://198.51.100.1:8080/whoami"); !strings.Contains(got, "198.51.100.2:") || !strings.Contains(got, " -> "+addr+":80") {
		t.Errorf("whoami = %q: not by DNAT to %s", got, addr)
	}
	checkClosed(t, &e.base, e.Close)
}
