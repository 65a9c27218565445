#!/usr/bin/env bash
# What "make lint" needs beside Go, which builds the other linters itself.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_go
need clang-format-19 ca-certificates
