// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// image is a kernel that is ready to boot.
type image struct {
	release string
	kernel  string   // file
	modules []string // files, each behind those that it depends on
}

// image finds or makes what boots a kernel.
func (s *Store) image(ctx context.Context, k Kernel) (image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	packages, release, err := s.packages(ctx, k)
	if err != nil {
		return image{}, err
	}
	return s.unpack(ctx, packages, release)
}

// unpack makes an image from the packages of a kernel. It is kept, until the
// list of modules changes.
func (s *Store) unpack(ctx context.Context, packages, release string) (image, error) {
	sum := sha256.Sum256([]byte(strings.Join(Modules(), " ")))
	dir := filepath.Join(s.Dir, "kernels", release+"-"+hex.EncodeToString(sum[:4]))
	img := image{release: release, kernel: filepath.Join(dir, "vmlinuz")}
	if _, err := os.Stat(dir); err != nil {
		if err := s.prepare(ctx, packages, dir); err != nil {
			return img, fmt.Errorf("unpack kernel %s: %w", release, err)
		}
	}
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return img, fmt.Errorf("read kernel %s: %w", release, err)
	}
	for _, name := range strings.Fields(string(order)) {
		img.modules = append(img.modules, filepath.Join(dir, name))
	}
	return img, nil
}

// prepare fills dir, all or nothing: vmlinuz, modules, and their order.
func (s *Store) prepare(ctx context.Context, packages, dir string) (err error) {
	part, err := os.MkdirTemp(s.Dir, "part-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(part)) }()
	debs, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil || len(debs) == 0 {
		return fmt.Errorf("no packages in %s: %w", packages, cmpErr(err))
	}
	tree, done := filepath.Join(part, "tree"), filepath.Join(part, "done")
	for _, deb := range debs {
		if _, err := run(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, tree)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(done, 0o755); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	found, err := look(tree)
	if err != nil {
		return err
	}
	if found.kernel == "" {
		return errors.New("the packages have no vmlinuz")
	}
	if err := os.Rename(found.kernel, filepath.Join(done, "vmlinuz")); err != nil {
		return fmt.Errorf("keep the kernel: %w", err)
	}
	if err := found.keepModules(ctx, done); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("keep the kernel: %w", err)
	}
	if err := os.Rename(done, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep the kernel: %w", err)
	}
	return nil
}

// cmpErr is an error for where there is none.
func cmpErr(err error) error {
	if err == nil {
		return fs.ErrNotExist
	}
	return err
}

// found is what an unpacked kernel consists of.
type found struct {
	kernel  string
	modules map[string]string // files by name
	builtin map[string]bool
}

// moduleName is a module's name, of its file's. ok is whether it is one.
func moduleName(file string) (name string, ok bool) {
	name, _, ok = strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok
}

func look(tree string) (found, error) {
	f := found{modules: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		base := d.Name()
		switch name, ok := moduleName(path); {
		case ok:
			f.modules[name] = path
		case strings.HasPrefix(base, "vmlinuz"):
			f.kernel = path
		case base == "modules.builtin":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, line := range strings.Fields(string(text)) {
				if name, ok := moduleName(line); ok {
					f.builtin[name] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("look through the packages: %w", err)
	}
	return f, nil
}

// keepModules puts the modules of the list and what they depend on into dir,
// decompressed, with a file that tells their order. A name of the list that this
// kernel has neither as a module nor built in is left out: kernels differ, and
// what is needed is told by the tests.
func (f found) keepModules(ctx context.Context, dir string) error {
	var order []string
	var add func(name string) error
	add = func(name string) error {
		file, ok := f.modules[name]
		kept := name + ".ko"
		if !ok || slices.Contains(order, kept) {
			return nil
		}
		content, err := decompressed(ctx, file)
		if err != nil {
			return err
		}
		depends, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, other := range depends {
			if f.modules[other] == "" && !f.builtin[other] {
				return fmt.Errorf("module %s depends on %s, which is not there", name, other)
			}
			if err := add(other); err != nil {
				return err
			}
		}
		order = append(order, kept)
		return os.WriteFile(filepath.Join(dir, kept), content, 0o644)
	}
	for _, name := range Modules() {
		if err := add(name); err != nil {
			return fmt.Errorf("keep modules: %w", err)
		}
	}
	if len(order) == 0 {
		return errors.New("the packages have none of the modules that are needed")
	}
	if err := os.WriteFile(filepath.Join(dir, "order"), []byte(strings.Join(order, "\n")), 0o644); err != nil {
		return fmt.Errorf("keep modules: %w", err)
	}
	return nil
}

func decompressed(ctx context.Context, file string) ([]byte, error) {
	switch filepath.Ext(file) {
	case ".ko":
		return os.ReadFile(file)
	case ".xz":
		out, err := run(exec.CommandContext(ctx, "xz", "-dc", file))
		return []byte(out), err
	}
	return nil, fmt.Errorf("%s: compressed in an unknown way", file)
}

// dependencies are the modules that a module needs: libcrc32c says only softly
// that it needs a crc32c.
func dependencies(module []byte) (names []string, err error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, fmt.Errorf("read as ELF: %w", err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			for name := range strings.SplitSeq(list, ",") {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names, nil
}
