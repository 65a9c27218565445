#!/usr/bin/env bash
# Proves that the committed generated files are what their sources give: makes
# them again in a copy of the tree and compares bytes. The tree is not touched.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${MAKE:=make}"
pinned=${CLANG_VERSION:?run by make}

copy=$(mktemp -d "${TMPDIR:-/tmp}/vethtrace-generated.XXXXXX")
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/was" "$copy/is"
# Deleted but not yet committed files are listed too: copy what exists.
git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' f; do [ -e "$f" ] && printf '%s\0' "$f"; done |
	xargs -0 cp -a --parents -t "$copy/was"
cp -a "$copy/was/." "$copy/is"

"$MAKE" --no-print-directory -C "$copy/is" generate-only
"$MAKE" --no-print-directory -C "$copy/is" vmlinux-check
if diff -rq "$copy/was" "$copy/is" >"$copy/diff"; then
	echo "generated files: as committed"
	exit 0
fi
echo "generated files differ from what their sources give; run \"make generate\":" >&2
sed "s|$copy/was|committed|g; s|$copy/is|generated|g" "$copy/diff" >&2
have=$(clang-19 -dumpversion)
if [ "$have" != "$pinned" ]; then
	echo "clang here is $have, the committed objects were made with $pinned" >&2
	# Another patch release may well give other code; only CI has to have the pinned one.
	[ -n "${CI:-}" ] || { echo "not counted as a failure outside CI" >&2; exit 0; }
fi
exit 1
