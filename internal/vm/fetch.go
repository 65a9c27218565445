// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Where Debian's packages come from unless this machine's apt has another mirror.
const (
	mainMirror     = "http://deb.debian.org/debian"
	securityMirror = "http://deb.debian.org/debian-security"
	keyring        = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// Store keeps packages of kernels, and what was unpacked from them, between runs.
type Store struct {
	Dir    string
	Update bool // ask for newer packages although there are some

	mu     sync.Mutex      // held while an image is fetched or unpacked
	listed map[string]bool // suites whose package lists were read in this run
}

// StoreVariable of the environment names a Store's directory.
const StoreVariable = "VETHTRACE_KERNELS"

// OpenStore makes a Store's directory, if it is not there. "": that of the
// environment, or else one in the user's cache.
func OpenStore(dir string, update bool) (*Store, error) {
	if dir == "" {
		dir = os.Getenv(StoreVariable)
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a place for kernels (or set %s): %w", StoreVariable, err)
		}
		dir = filepath.Join(cache, "vethtrace", "kernels")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a place for kernels: %w", err)
	}
	return &Store{Dir: dir, Update: update, listed: map[string]bool{}}, nil
}

// packages finds or fetches the packages of a kernel. It returns their directory
// and the kernel's release. That they cannot be had is an error.
func (s *Store) packages(ctx context.Context, k Kernel) (dir, release string, err error) {
	pattern, err := k.imagePattern()
	if err != nil {
		return "", "", fmt.Errorf("kernel %s of the list: %w", k.Name, err)
	}
	if !s.Update {
		if release = newest(pattern, s.kept()); release != "" {
			return filepath.Join(s.Dir, "packages", release), release, nil
		}
	}
	if err := s.list(ctx, k); err != nil {
		return "", "", err
	}
	names, err := s.apt(ctx, k, "", "apt-cache", "pkgnames", "linux-image-")
	if err != nil {
		return "", "", err
	}
	if release = newest(pattern, strings.Fields(names)); release == "" {
		return "", "", fmt.Errorf("fetch kernel %s: %s has no package %v", k.Name, k.Suite, pattern)
	}
	dir = filepath.Join(s.Dir, "packages", release)
	if _, err := os.Stat(dir); err == nil {
		return dir, release, nil
	}
	return dir, release, s.download(ctx, k, release, dir)
}

// kept are the names of the images that are there, as packages are named.
func (s *Store) kept() (names []string) {
	dirs, err := filepath.Glob(filepath.Join(s.Dir, "packages", "*"))
	if err != nil {
		return nil
	}
	for _, dir := range dirs {
		names = append(names, "linux-image-"+filepath.Base(dir))
	}
	return names
}

// newest is the version of the newest package whose name matches; "": there is none.
func newest(pattern *regexp.Regexp, names []string) (version string) {
	for _, name := range names {
		if m := pattern.FindStringSubmatch(name); m != nil && (version == "" || compareVersions(m[1], version) > 0) {
			version = m[1]
		}
	}
	return version
}

// compareVersions compares names of releases: numbers as numbers, all else as text.
func compareVersions(a, b string) int {
	parts := regexp.MustCompile(`\d+|\D+`)
	return slices.CompareFunc(parts.FindAllString(a, -1), parts.FindAllString(b, -1), func(a, b string) int {
		number := func(s string) bool { return s[0] >= '0' && s[0] <= '9' }
		if a, b := strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0"); number("0"+a) && number("0"+b) && len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
}

// download fetches a kernel's packages, all or none.
func (s *Store) download(ctx context.Context, k Kernel, release, dir string) (err error) {
	part, err := os.MkdirTemp(s.Dir, "part-")
	if err != nil {
		return fmt.Errorf("fetch kernel %s: %w", release, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(part)) }()
	get := func(names ...string) error {
		for _, name := range names {
			if _, err := s.apt(ctx, k, part, "apt-get", "-q", "download", name+":"+k.arch()); err != nil {
				return fmt.Errorf("fetch %s: %w", name, err)
			}
		}
		return nil
	}
	if err := get("linux-image-" + release); err != nil {
		return err
	}
	// Since 7.x the image is a package without content: its parts are packages.
	whole, err := hasKernel(ctx, part)
	if err == nil && !whole {
		err = get("linux-binary-"+release, "linux-modules-"+release, "linux-base-"+release)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("keep kernel %s: %w", release, err)
	}
	// Another run may have been faster, with the same packages.
	if err := os.Rename(part, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep kernel %s: %w", release, err)
	}
	return nil
}

// hasKernel tells whether a package in dir contains a kernel.
func hasKernel(ctx context.Context, dir string) (bool, error) {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return false, fmt.Errorf("look for packages: %w", err)
	}
	for _, deb := range debs {
		list, err := run(exec.CommandContext(ctx, "dpkg-deb", "-c", deb))
		if err != nil {
			return false, err
		}
		if strings.Contains(list, "/vmlinuz") {
			return true, nil
		}
	}
	return false, nil
}

// list reads the package lists of a kernel's suite, into the store: the machine's own stay as they are.
func (s *Store) list(ctx context.Context, k Kernel) error {
	if s.listed[k.lists()] {
		return nil
	}
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(s.lists(k), dir), 0o755); err != nil {
			return fmt.Errorf("keep package lists: %w", err)
		}
	}
	own, err := machineSources()
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.sources(k), []byte(suiteSource(k, own)), 0o644); err != nil {
		return fmt.Errorf("keep package lists: %w", err)
	}
	if _, err := s.apt(ctx, k, "", "apt-get", "-q", "update", "--error-on=any"); err != nil {
		return fmt.Errorf("read the lists of Debian's packages: %w", err)
	}
	s.listed[k.lists()] = true
	return nil
}

// lists names a suite for an architecture.
func (k Kernel) lists() string { return k.Suite + "-" + k.arch() }

// lists is what apt knows of a kernel's suite.
func (s *Store) lists(k Kernel) string { return filepath.Join(s.Dir, "apt", k.lists()) }

func (s *Store) sources(k Kernel) string { return filepath.Join(s.lists(k), "sources.list") }

// suiteSource is the line for apt of a kernel's suite. own are this machine's sources,
// whose mirror is taken.
func suiteSource(k Kernel, own string) string {
	kind, from := "debian", mainMirror
	if strings.HasSuffix(k.Suite, "-security") {
		kind, from = "debian-security", securityMirror
	}
	if m := regexp.MustCompile(`https?://\S*/` + kind + `/?(\s|$)`).FindString(own); m != "" {
		from = strings.TrimRight(strings.TrimSpace(m), "/")
	}
	return fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", k.arch(), keyring, from, k.Suite)
}

// machineSources are the lines of this machine's apt that name mirrors.
func machineSources() (string, error) {
	var lines []string
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		files, err := filepath.Glob(filepath.Join("/etc/apt", pattern))
		if err != nil {
			return "", fmt.Errorf("read apt's sources: %w", err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return "", fmt.Errorf("read apt's sources: %w", err)
			}
			for line := range strings.Lines(string(text)) {
				if !strings.HasPrefix(strings.TrimSpace(line), "#") {
					lines = append(lines, line)
				}
			}
		}
	}
	return strings.Join(lines, ""), nil
}

// apt runs apt on the store's lists of a kernel's suite, in dir ("": anywhere).
func (s *Store) apt(ctx context.Context, k Kernel, dir, name string, args ...string) (string, error) {
	lists := s.lists(k)
	opts := []string{
		"-o", "Dir::Etc::sourcelist=" + s.sources(k), "-o", "Dir::Etc::sourceparts=/nonexistent",
		"-o", "Dir::State::lists=" + filepath.Join(lists, "lists"), "-o", "Dir::Cache=" + filepath.Join(lists, "cache"),
		"-o", "Dir::State::status=/dev/null", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2",
	}
	opts = append(opts, "-o", "APT::Architectures::="+k.arch())
	cmd := exec.CommandContext(ctx, name, append(opts, args...)...)
	cmd.Dir = dir
	return run(cmd)
}

// run runs a command and returns what it prints; what it complains of is in the error.
func run(cmd *exec.Cmd) (string, error) {
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(msg.Bytes()))
	}
	return out.String(), nil
}
