// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Modes of cpio's entries: the type of file, and permissions.
const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeLink = 0o120777
)

// archive writes a cpio archive as the kernel unpacks it ("newc"), with the
// directories that names need. The first error stays.
type archive struct {
	w    io.Writer
	err  error
	n    int
	dirs map[string]bool
	seen []string
}

func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{"/": true, ".": true}}
}

// has tells whether a name is in it.
func (a *archive) has(name string) bool { return slices.Contains(a.seen, name) }

// file adds a file that may be executed.
func (a *archive) file(name string, content []byte) {
	a.dir(path.Dir(name))
	a.entry(name, modeFile, content)
}

// link adds a symbolic link.
func (a *archive) link(name, to string) {
	a.dir(path.Dir(name))
	a.entry(name, modeLink, []byte(to))
}

// dir adds a directory, and those above it.
func (a *archive) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dirs[name] = true
	a.dir(path.Dir(name))
	a.entry(name, modeDir, nil)
}

func (a *archive) entry(name string, mode uint32, content []byte) {
	a.seen = append(a.seen, name)
	a.n++
	a.write(strings.TrimPrefix(name, "/"), mode, content)
}

func (a *archive) write(name string, mode uint32, content []byte) {
	if a.err != nil {
		return
	}
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.n, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	head := header + name + "\x00"
	for _, part := range [][]byte{[]byte(head), pad(len(head)), content, pad(len(content))} {
		if _, err := a.w.Write(part); err != nil {
			a.err = fmt.Errorf("write the initramfs: %w", err)
			return
		}
	}
}

// pad is what aligns n bytes to four.
func pad(n int) []byte { return make([]byte, (4-n%4)%4) }

// close writes the end.
func (a *archive) close() error {
	a.n = 0
	a.write("TRAILER!!!", 0, nil)
	return a.err
}
