#!/usr/bin/env bash
# What "make accuracy" needs: the lab writes Docker's rules with iptables.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need_root "the measurement"
need iptables iproute2 ca-certificates
