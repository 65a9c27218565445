package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

const root = "../../.."

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunWritesAndChecks(t *testing.T) {
	kernelBTF := write(t, "btf", blob(t, kernel()...))
	list := write(t, "types", []byte("struct net_device: ifindex\n"))
	out := filepath.Join(t.TempDir(), "vmlinux.h")
	base := []string{"-btf", kernelBTF, "-types", list}

	var stdout bytes.Buffer
	if err := run(base, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := run(append(base, "-o", out), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, stdout.Bytes()) {
		t.Error("the file and standard output differ")
	}
	if !bytes.HasPrefix(written, []byte("/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */\n")) {
		t.Errorf("licence line missing: %.80s", written)
	}
	if err := run(append(base, "-o", out, "-check"), io.Discard, io.Discard); err != nil {
		t.Errorf("check of a fresh file: %v", err)
	}
	if err := os.WriteFile(out, bytes.ReplaceAll(written, []byte("int ifindex"), []byte("long ifindex")), 0o600); err != nil {
		t.Fatal(err)
	}
	err = run(append(base, "-o", out, "-check"), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `has "long ifindex;", this kernel gives "int ifindex;"`) {
		t.Errorf("check of a changed file: %v", err)
	}
}

func TestRunErrors(t *testing.T) {
	good := write(t, "btf", blob(t, kernel()...))
	list := write(t, "types", []byte("struct net_device: ifindex\n"))
	absent := filepath.Join(t.TempDir(), "absent")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"argument", []string{"x"}, `unexpected argument "x"`},
		{"flag", []string{"-x"}, "parse flags: "},
		{"check without file", []string{"-check"}, "-check needs -o"},
		{"no BTF", []string{"-btf", absent}, "read BTF: "},
		{"bad BTF", []string{"-btf", list, "-types", list}, "parse BTF: "},
		{"no list", []string{"-btf", good, "-types", absent}, "open the list of types: "},
		{"bad list", []string{"-btf", good, "-types", write(t, "bad", []byte("x\n"))}, ""},
		{"nothing to compare", []string{"-btf", good, "-types", list, "-check", "-o", absent}, "read the committed header: "},
		{"nowhere to write", []string{"-btf", good, "-types", list, "-o", absent + "/x"}, "write the header: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run(tt.args, io.Discard, io.Discard)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestCheckOfAnotherKernel(t *testing.T) {
	entries, err := parseList(strings.NewReader("struct a: b\nconst: C"), "list")
	if err != nil {
		t.Fatal(err)
	}
	made := frame("struct a {\n\tint b;\n};\nenum { C };\n", "1")
	tests := []struct{ name, committed, wantErr, wantNote string }{
		{"same text", frame("struct a {\n\tint b;\n};\nenum { C };\n", "2"), "", ""},
		{"another type", frame("struct a {\n\tlong b;\n};\nenum { C };\n", "2"), "", `has "long b;", this kernel gives "int b;"`},
		{"same kernel", frame("struct a {\n\tlong b;\n};\nenum { C };\n", "1"), "f is not what bpf/vmlinux.types gives", ""},
		{"member lost", frame("struct a {\n\tint bb;\n};\nenum { C };\n", "2"), "f lacks struct a (b)", ""},
		{"constant lost", frame("struct a {\n\tint b;\n};\n", "2"), "f lacks const (C)", ""},
		{"no origin", "struct a { long b; }; enum { C };", "", "another kernel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var note bytes.Buffer
			err := check(tt.committed, made, entries, "f", &note)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.HasPrefix(err.Error(), tt.wantErr) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
			if (note.Len() == 0) != (tt.wantNote == "") || !strings.Contains(note.String(), tt.wantNote) {
				t.Errorf("got note %q, want %q", note.String(), tt.wantNote)
			}
		})
	}
}

// TestRunningKernel makes the project's header from this kernel, compiles a
// program with it for both architectures and lets the verifier judge what the
// loader relocated.
func TestRunningKernel(t *testing.T) {
	out := filepath.Join(t.TempDir(), "vmlinux.h")
	args := []string{"-types", filepath.Join(root, "bpf/vmlinux.types"), "-o", out}
	for range 2 { // twice: the order must not depend on a map's
		before, _ := os.ReadFile(out)
		if err := run(args, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !bytes.Equal(before, after) {
			t.Error("two runs give two headers")
		}
	}
	compile(t, filepath.Dir(out), "arm64")
	object := compile(t, filepath.Dir(out), "x86")
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Programs) != 4 {
		t.Fatalf("got %d programs, want 4", len(spec.Programs))
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	coll.Close()
}

// compile builds the probe for an architecture with the header in dir.
func compile(t *testing.T, dir, arch string) string {
	t.Helper()
	object := filepath.Join(t.TempDir(), "probe.o")
	cmd := exec.Command("clang-19", "-Wall", "-Werror", "-O2", "-g", "-target", "bpf", "-mcpu=v3",
		"-D__TARGET_ARCH_"+arch, "-I"+dir, "-c", "testdata/probe.bpf.c", "-o", object)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile for %s: %v\n%s", arch, err, output)
	}
	return object
}

// TestELF reads the BTF out of an ELF file, as a vmlinux image has it.
func TestELF(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "a.c")
	if err := os.WriteFile(source, []byte("struct a { int b; char c; }; struct a x;"), 0o600); err != nil {
		t.Fatal(err)
	}
	object := filepath.Join(dir, "a.o")
	if output, err := exec.Command("clang-19", "-g", "-target", "bpf", "-c", source, "-o", object).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, output)
	}
	var out bytes.Buffer
	if err := run([]string{"-btf", object, "-types", write(t, "types", []byte("struct a: c\n"))}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "struct a {\n\tchar c;\n};\n") {
		t.Errorf("got %s", out.String())
	}
}

// TestCommittedHeader holds the committed header against the list: every type
// and member listed is in it, and it relocates onto this kernel.
func TestCommittedHeader(t *testing.T) {
	var note bytes.Buffer
	err := run([]string{
		"-types", filepath.Join(root, "bpf/vmlinux.types"),
		"-o", filepath.Join(root, "vmlinux.h"), "-check",
	}, io.Discard, &note)
	if err != nil {
		t.Error(err)
	}
	if note.Len() > 0 {
		t.Log(note.String())
	}
	object := compile(t, root, "x86")
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	coll.Close()
}

// TestBitfieldsMatchTheKernel compares the widths written with those in BTF.
func TestBitfieldsMatchTheKernel(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var tcp *btf.Struct
	if err := spec.TypeByName("tcphdr", &tcp); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{"-types", write(t, "types", []byte("struct tcphdr: *\n"))}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var flags, lines uint32
	for _, m := range tcp.Members {
		if m.BitfieldSize > 0 {
			flags += uint32(m.BitfieldSize)
			lines++
		}
	}
	if flags != 16 || uint32(strings.Count(out.String(), ": ")) < lines {
		t.Errorf("%d bits in %d bit-fields, header:\n%s", flags, lines, out.String())
	}
	if !strings.Contains(out.String(), "__u16 doff: 4;") {
		t.Errorf("no doff of 4 bits in:\n%s", out.String())
	}
}
