// Package oracle is the kernel side with a check of its own: whether each stamp
// goes to the packet that it belongs to, by a number in the packet's payload.
// It is slow, and for tests only.
package oracle

//go:generate go tool bpf2go -target amd64,arm64 Oracle oracle.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
