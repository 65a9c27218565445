#!/usr/bin/env bash
# What "make demo" needs: Docker's rules are written with iptables.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need_root "the demo"
need iptables iproute2 ca-certificates
