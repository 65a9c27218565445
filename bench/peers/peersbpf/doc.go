// SPDX-License-Identifier: Apache-2.0

// Package peersbpf holds our own re-creation of what event-printing tracers do
// at each hook. The objects are committed; building needs no clang.
package peersbpf

//go:generate go tool bpf2go -target amd64,arm64 -type ring_event Ring ring.bpf.c -- -O2 -mcpu=v3 -Wall -Werror
