// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// The newest package of a version is taken, as numbers are ordered; others than
// those of that version, and those of debug symbols, are not.
func TestNewest(t *testing.T) {
	names := []string{
		"linux-image-6.12.9+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64", "linux-image-6.12.118+deb12-cloud-amd64-dbg",
		"linux-image-6.12.118+deb12-cloud-amd64-unsigned", "linux-image-6.12.118+deb12-amd64", "linux-image-6.13.1+deb12-cloud-amd64",
		"linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-0.deb11.60-cloud-amd64", "linux-image-7.3.4+deb13-cloud-amd64",
	}
	for name, want := range map[string]string{
		"6.12": "6.12.117+deb12-cloud-amd64", "6.1": "6.1.0-56-cloud-amd64", "7.3": "7.3.4+deb13-cloud-amd64", "5.10": "", "6.18": "",
	} {
		k := Kernels()[slices.IndexFunc(Kernels(), func(k Kernel) bool { return k.Name == name })]
		pattern, err := k.imagePattern()
		if err != nil {
			t.Fatal(err)
		}
		if got := newest(pattern, names); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		slices.Reverse(names)
	}
}

// Packages come from this machine's mirror, where it is one of Debian.
func TestSuiteSource(t *testing.T) {
	for _, c := range []struct{ own, security, main string }{
		{"URIs: http://mirror.example/debian/\nSuites: bookworm\nURIs: http://mirror.example/debian-security\n", "http://mirror.example/debian-security", "http://mirror.example/debian"},
		{"deb https://mirror.example/debian bookworm main\n", securityMirror, "https://mirror.example/debian"},
		{"deb http://archive.example/ubuntu noble main\n", securityMirror, mainMirror},
	} {
		for suite, from := range map[string]string{"bookworm-security": c.security, "trixie-backports": c.main} {
			want := "deb [arch=amd64 signed-by=" + keyring + "] " + from + " " + suite + " main\n"
			if got := suiteSource(Kernel{Suite: suite}, c.own); got != want {
				t.Errorf("of %q: %q, want %q", c.own, got, want)
			}
		}
	}
}

// The place that keeps kernels is made, as an absolute path; the environment may name it.
func TestOpenStore(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(StoreVariable, "c/d")
	for dir, want := range map[string]string{"a/b": "a/b", "": "c/d"} {
		s, err := OpenStore(dir, true)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := filepath.Abs(want); err != nil || s.Dir != want || !s.Update {
			t.Errorf("%q: %q, want %q", dir, s.Dir, want)
		}
		if _, err := os.Stat(want); err != nil {
			t.Error(err)
		}
	}
}

// Kernels that cannot be had are an error, and nothing stays of them.
func TestPackagesThatCannotBeHad(t *testing.T) {
	s := &Store{Dir: t.TempDir(), listed: map[string]bool{Kernels()[0].lists(): true}} // lists were read, and are empty
	_, _, err := s.packages(t.Context(), Kernels()[0])
	if err == nil {
		t.Fatal("no error")
	}
	if !regexp.MustCompile(`5\.10.*no package`).MatchString(err.Error()) {
		t.Errorf("%v", err)
	}
	if _, err := s.unpack(t.Context(), t.TempDir(), "5.10.0-1-cloud-amd64"); err == nil {
		t.Error("unpacked nothing without an error")
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir, "part-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Packages that are there are used as they are: no list is read.
func TestPackagesAreKept(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	for _, release := range []string{"6.12.9+deb12-cloud-amd64", "6.12.10+deb12-cloud-amd64", "6.1.0-9-cloud-amd64"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, "packages", release), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k := Kernels()[slices.IndexFunc(Kernels(), func(k Kernel) bool { return k.Name == "6.12" })]
	dir, release, err := s.packages(t.Context(), k)
	if err != nil || release != "6.12.10+deb12-cloud-amd64" || dir != filepath.Join(s.Dir, "packages", release) {
		t.Errorf("%s %s %v", dir, release, err)
	}
}
