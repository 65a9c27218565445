package tracer

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
)

// WithObject makes a tracer load another object than the product's.
func (c Config) WithObject(load func() (*ebpf.CollectionSpec, error)) Config {
	c.object = load
	return c
}

// Word reads a variable of eight bytes at its place in the kernel programs' memory.
func (t *Tracer) Word(offset uint32) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return binary.NativeEndian.Uint64(t.kernel.mem.bss[offset:])
}
