#!/usr/bin/env bash
# What "make generate" needs: the pinned compiler of the kernel programs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need clang-19 llvm-19 libbpf-dev
