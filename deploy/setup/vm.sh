#!/usr/bin/env bash
# What "make vm" needs: QEMU, what unpacks kernel packages, and what the lab
# runs, which is copied into the guests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need qemu-system-x86 qemu-system-arm debian-archive-keyring xz-utils iptables nftables iproute2 ca-certificates \
	'docker.io|docker-ce' 'containerd|containerd.io' 'runc|containerd.io' 'nginx-light|nginx|nginx-full|nginx-core' curl bpftrace
