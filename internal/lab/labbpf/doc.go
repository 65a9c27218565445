// SPDX-License-Identifier: Apache-2.0

// Package labbpf holds the lab's own kernel programs: a delay of known length, the clearing of
// birth stamps, and an independent count of what packets went through. The objects are committed; building needs no clang.
package labbpf

//go:generate go tool bpf2go -target amd64,arm64 Witness witness.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
//go:generate go tool bpf2go -target amd64,arm64 Lab lab.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
