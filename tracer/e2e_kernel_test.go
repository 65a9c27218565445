package tracer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// kernelIDs are programs, maps and links by the kernel's own numbers.
type kernelIDs struct{ Programs, Maps, Links []uint32 }

// held are those that this process holds a descriptor of.
func held(t *testing.T) (ids kernelIDs) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the descriptor of the directory that was just read
		}
		fields := map[string]uint32{}
		for line := range strings.Lines(string(text)) {
			var key string
			var id uint32
			if n, _ := fmt.Sscan(line, &key, &id); n == 2 {
				fields[key] = id
			}
		}
		switch {
		case fields["link_id:"] != 0:
			ids.Links = append(ids.Links, fields["link_id:"])
		case fields["prog_id:"] != 0:
			ids.Programs = append(ids.Programs, fields["prog_id:"])
		case fields["map_id:"] != 0:
			ids.Maps = append(ids.Maps, fields["map_id:"])
		}
	}
	return ids
}

// left are those that the kernel still has, in its own lists of ids.
func (ids kernelIDs) left(t *testing.T) (left kernelIDs) {
	t.Helper()
	walk := func(next func(uint32) (uint32, error), of []uint32) (there []uint32) {
		var id uint32
		for {
			var err error
			if id, err = next(id); errors.Is(err, os.ErrNotExist) {
				return there
			} else if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(of, id) {
				there = append(there, id)
			}
		}
	}
	left.Programs = walk(func(id uint32) (uint32, error) {
		next, err := ebpf.ProgramGetNextID(ebpf.ProgramID(id))
		return uint32(next), err
	}, ids.Programs)
	left.Maps = walk(func(id uint32) (uint32, error) {
		next, err := ebpf.MapGetNextID(ebpf.MapID(id))
		return uint32(next), err
	}, ids.Maps)
	for _, id := range ids.Links {
		if l, err := link.NewFromID(link.ID(id)); err == nil {
			left.Links = append(left.Links, id)
			_ = l.Close()
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return left
}

func (ids kernelIDs) total() int { return len(ids.Programs) + len(ids.Maps) + len(ids.Links) }

// gone waits until the kernel has none of them any more.
func (ids kernelIDs) gone(t *testing.T) {
	t.Helper()
	var left kernelIDs
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = ids.left(t); left.total() == 0 {
			return
		}
	}
	t.Errorf("5 s later the kernel still has %+v", left)
}

// namespaces counts the descriptors and mappings of network namespaces that this process holds.
func namespaces(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && strings.HasPrefix(to, "net:[") {
			n++
		}
	}
	return n
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
