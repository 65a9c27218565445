// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/netns"
)

func TestCrowd(t *testing.T) {
	w := newWorld(t, Config{Containers: -1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	crowd, err := w.AddCrowd(ctx, "c", 100)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("100 containers in %v", time.Since(begin))
	if len(crowd) != 100 || crowd[0].IP4 != netip.MustParseAddr("172.17.0.2") || crowd[99].Name != "c100" {
		t.Errorf("%d containers, from %s on", len(crowd), crowd[0].IP4)
	}
	for _, c := range []*Container{crowd[0], crowd[50], crowd[99]} {
		for _, from := range []*Node{w.Host, crowd[1].Node} {
			if res, err := from.Ping(ctx, c.IP4, 1); err != nil || res.Done != 1 {
				t.Errorf("%s does not answer %s: %+v %v", c.Name, from.Name, res, err)
			}
		}
	}
	inodes := map[uint64]*netns.NS{}
	for _, c := range crowd {
		inodes[c.NS.Inode()] = c.NS
	}
	if len(inodes) != 100 {
		t.Errorf("%d namespaces", len(inodes))
	}
	if _, err := w.AddCrowd(ctx, "d", MostPorts-99); err == nil {
		t.Error("more containers than a bridge has ports")
	}
	if _, err := w.AddCrowd(ctx, "c", 1); err == nil {
		t.Error("two of one name")
	}
	if err := w.RemoveContainer(ctx, "c50"); err != nil || w.Container("c50") != nil {
		t.Errorf("one leaves: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
