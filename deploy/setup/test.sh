#!/usr/bin/env bash
# What "make test" needs. The tests start engines and servers themselves,
# inside network namespaces of their own, and guests with other kernels.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need_root "the tests"
need 'docker.io|docker-ce' podman netavark slirp4netns containernetworking-plugins 'containerd|containerd.io' 'runc|containerd.io' iptables nftables 'nginx-light|nginx|nginx-full|nginx-core' \
	iproute2 ethtool iputils-ping curl conntrack tcpdump bpftrace tmux jq procps \
	qemu-system-x86 debian-archive-keyring cpio xz-utils prometheus 'chromium|chromium-browser|google-chrome-stable' ca-certificates git clang-19 llvm-19 libbpf-dev
