// Package bpftest runs parts of the kernel side on their own, for the tests of
// package bpf: nothing of it is attached anywhere.
package bpftest

//go:generate go tool bpf2go -target amd64,arm64 Bpftest bpftest.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
