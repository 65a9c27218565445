// SPDX-License-Identifier: Apache-2.0

// Package vm runs root tests in guests with other kernels: Debian's cloud
// kernels under QEMU, by emulation, so that no KVM is needed.
//
//	Kernels ──fetch──> packages ──unpack──> vmlinuz, modules ─┐
//	Groups ──go test -c──> test binaries ─┐                    ├─> QEMU ──wire.Message──> Outcome ──> Results ──> docs/kernels.md
//	doctor, cost, the lab's programs ─────┴──> initramfs ─────┘
//
// A guest has no disk, no network and no shell of its own: package guest is its
// process 1, and what the lab runs (iptables, ip, tc) is copied from this
// machine with its libraries. One guest runs at a time: emulation takes all CPUs.
// What is absolute about time means nothing in there.
package vm

//go:generate go run ../tools/vm -results results.json -docs ../../docs/kernels.md
