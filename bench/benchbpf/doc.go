// SPDX-License-Identifier: Apache-2.0

// Package benchbpf measures what a stamp costs by itself, in programs that are
// made of the very code of bpf/ and run by BPF_PROG_TEST_RUN. The objects are
// committed; building needs no clang.
package benchbpf

//go:generate go tool bpf2go -target amd64,arm64 Bench bench.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
