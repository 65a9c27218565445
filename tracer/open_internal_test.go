package tracer

import (
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/cilium/ebpf"
)

func TestLoadTime(t *testing.T) {
	b := time.Now()
	spec, _ := bpf.LoadKernel()
	t.Log("spec", time.Since(b))
	b = time.Now()
	f := facts{hostNetns: 1, programs: map[string]bool{}, bridge: true}
	for _, h := range Hooks() {
		if h.wants(DetailHooks) && h.Bridge && f.has(h.Duty) {
			f.programs[h.Program] = true
		}
	}
	for n := range spec.Programs {
		if !f.programs[n] {
			delete(spec.Programs, n)
		}
	}
	c, err := ebpf.NewCollection(spec)
	t.Log("collection", time.Since(b), err)
	c.Close()
	b = time.Now()
	k, err := load(Config{}.withDefaults(), f)
	t.Log("load", time.Since(b), err)
	k.close()
}
