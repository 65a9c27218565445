// Package bpf is all that runs in the kernel, and the Go face that bpf2go makes
// of it. journey.h is the contract between the two: the types below carry its
// names.
//
// The objects are committed for both architectures, so that building needs no
// compiler for C; "make generate" makes them anew.
package bpf

//go:generate go tool bpf2go -target amd64,arm64 -type vt_hook -type vt_state -type vt_peer -type vt_direction -type vt_role -type vt_skip -type vt_type -type vt_flag -type vt_record -type vt_call_record Kernel vethtrace.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool bpf2go -target amd64,arm64 -no-global-types Fallback fallback.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
