// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// programs of this machine that the lab and the tests run.
func programs() []string {
	return []string{"iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "iptables-save", "nft", "ip", "tc", "sh", "sleep", "true", "cat"}
}

// A load is what a guest gets beside its kernel.
type load struct {
	files    map[string]string // of this machine, by name in the guest; a directory with what is in it
	programs []string          // of this machine
	plan     wire.Plan
}

// writeInitramfs writes what the guest finds: the load, the kernel's modules,
// and programs with their libraries.
func writeInitramfs(ctx context.Context, to string, img image, l load) (err error) {
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buffered := bufio.NewWriterSize(out, 1<<20)
	a := newArchive(buffered)
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		a.link("/"+dir, "usr/"+dir)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/root"} {
		a.dir(dir)
	}
	for _, file := range img.modules {
		name := "/modules/" + filepath.Base(file)
		l.plan.Modules = append(l.plan.Modules, name)
		if err := a.copy(name, file); err != nil {
			return err
		}
	}
	for name, file := range l.files {
		if err := a.copy(name, file); err != nil {
			return err
		}
	}
	for _, name := range l.programs {
		if err := a.program(ctx, name); err != nil {
			return err
		}
	}
	plan, err := json.Marshal(l.plan)
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	a.file(wire.PlanFile, plan)
	a.file("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	a.file("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.file("/etc/machine-id", []byte("00000000000000000000000000000001\n"))
	a.file("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.file("/etc/nsswitch.conf", []byte("passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n"))
	if err := a.close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	return nil
}

// copy adds a file of this machine, or a directory with all files below it.
func (a *archive) copy(name, file string) error {
	err := filepath.WalkDir(file, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(file, path)
		if err != nil {
			return err
		}
		a.file(filepath.Join(name, below), content)
		return a.err
	})
	if err != nil {
		return fmt.Errorf("copy %s into the guest: %w", file, err)
	}
	return nil
}

// program adds a program by the name by which PATH knows it, with its
// libraries: many programs are one file that goes by its name.
func (a *archive) program(ctx context.Context, name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("a program for the guest: %w", err)
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("a program for the guest: %w", err)
	}
	if err := a.binary(ctx, path); err != nil {
		return err
	}
	if !strings.Contains(name, "tables") {
		return nil
	}
	// iptables loads what understands a match or a target by its name.
	extensions, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil || len(extensions) == 0 {
		return fmt.Errorf("iptables' extensions: %w", cmpErr(err))
	}
	for _, file := range extensions {
		if err := a.binary(ctx, file); err != nil {
			return err
		}
	}
	if !a.has("/etc/protocols") {
		return a.copy("/etc/protocols", "/etc/protocols")
	}
	return nil
}

// merged is where a file is that is named by one of the links from / to /usr.
func merged(path string) string {
	if regexp.MustCompile(`^/(bin|sbin|lib|lib64)/`).MatchString(path) {
		return "/usr" + path
	}
	return path
}

// binary adds a file behind all links, and the libraries that it is linked with.
// A file that is there already under another name becomes a link to that one.
func (a *archive) binary(ctx context.Context, path string) error {
	path = merged(path)
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("a program for the guest: %w", err)
	}
	if !a.has(file) {
		if err := a.copy(file, file); err != nil {
			return err
		}
		// ldd fails for what is linked with nothing.
		libraries, _ := exec.CommandContext(ctx, "ldd", file).Output()
		for _, library := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(libraries), -1) {
			if err := a.binary(ctx, library[1]); err != nil {
				return err
			}
		}
	}
	if path != file && !a.has(path) {
		a.link(path, file)
	}
	return nil
}
