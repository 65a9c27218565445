#!/usr/bin/env bash
# What "make bench" needs: Docker's rules are written with iptables, and it
# measures other tools beside vethtrace.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need_root "the benchmark"
need iptables iproute2 bpftrace tcpdump ca-certificates
