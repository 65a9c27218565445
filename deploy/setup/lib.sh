# shellcheck shell=bash
# Installs Debian and Ubuntu packages for the other scripts here, which source
# this file. Nothing else of the machine is changed: no service is started or
# enabled, no firewall rule, sysctl or module touched. Quick when all is there.

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

POLICY=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # another place for the test of this file
POLICY_MARK='# vethtrace setup: removed when the installation ends'

# installed PACKAGE: true when dpkg has it configured.
installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# choose A|B|C: prints the first that apt can install; an installed one wins
# before it comes to that. False when there is none.
choose() {
	local name policy
	for name in ${1//|/ }; do
		policy=$(LC_ALL=C apt-cache policy "$name" 2>/dev/null) || continue
		# No pipe into grep -q: it would end apt-cache by SIGPIPE, and pipefail tell that.
		if grep -q '^  Candidate: [^(]' <<<"$policy"; then
			printf '%s\n' "$name"
			return 0
		fi
	done
	return 1
}

# missing SPEC...: prints the specs of which no alternative is installed.
missing() {
	local spec name found
	for spec in "$@"; do
		found=
		for name in ${spec//|/ }; do
			if installed "$name"; then found=1; break; fi
		done
		[ -n "$found" ] || printf '%s\n' "$spec"
	done
}

# forbid_services keeps maintainer scripts from starting daemons: Docker would
# write firewall rules, nginx would take port 80. An existing policy stays.
forbid_services() {
	if [ -e "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; then
		rm -f "$POLICY" # a run that was killed left it behind
	fi
	[ ! -e "$POLICY" ] && [ ! -L "$POLICY" ] || return 0
	trap allow_services EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
	chmod 755 "$POLICY"
}

allow_services() {
	if [ -e "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; then
		rm -f "$POLICY"
	fi
}

# enabled_units: prints what systemd starts at boot, sorted.
enabled_units() {
	command -v systemctl >/dev/null || return 0
	systemctl list-unit-files --no-legend --type=service,socket --state=enabled | awk '{print $1}' | sort
}

# keep_disabled BEFORE: what the installation enabled beyond BEFORE does not
# start at the next boot either; the tests start what they need themselves.
keep_disabled() {
	local unit
	comm -13 - <(enabled_units) <<<"$1" | while read -r unit; do
		[ -n "$unit" ] || continue
		systemctl disable --quiet "$unit" || { say "could not disable $unit"; continue; }
		say "$unit is installed, neither started nor enabled"
	done
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >&2
}

apt_update() {
	say "apt-get update"
	apt-get update -q -o DPkg::Lock::Timeout=300 >&2 || die "apt-get update failed: is a package mirror reachable?"
}

# resolve SPEC...: fills the array NAMES with packages that apt can install.
resolve() {
	local spec name
	NAMES=()
	for spec in "$@"; do
		name=$(choose "$spec") || { UNKNOWN=$spec; return 1; }
		NAMES+=("$name")
	done
}

# need SPEC...: sees to it that the packages are installed. A spec is a name,
# or alternatives joined by |, the one to install first.
need() {
	local specs units NAMES UNKNOWN
	command -v dpkg-query >/dev/null ||
		die "this is not Debian or Ubuntu: install what these packages contain yourself: $*"
	mapfile -t specs < <(missing "$@")
	[ "${#specs[@]}" -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "run as root (sudo -E make ...), or install: ${specs[*]}"
	if ! resolve "${specs[@]}"; then
		apt_update
		resolve "${specs[@]}" || die "no package mirror of this machine has $UNKNOWN"
	fi
	say "installing ${NAMES[*]}"
	units=$(enabled_units)
	forbid_services
	if ! apt_install "${NAMES[@]}"; then
		apt_update # the lists may be older than the mirror
		apt_install "${NAMES[@]}" || die "apt-get could not install ${NAMES[*]}"
	fi
	allow_services
	keep_disabled "$units"
	mapfile -t specs < <(missing "${NAMES[@]}")
	[ "${#specs[@]}" = 0 ] || die "still not installed: ${specs[*]}"
}

# need_go: Go itself comes from the user; its own toolchain line does the rest.
need_go() {
	command -v go >/dev/null || die "go is not in PATH: install Go 1.26 or later from https://go.dev/dl"
}

# need_root WHAT
need_root() {
	[ "$(id -u)" = 0 ] || die "$1 needs root: sudo -E env \"PATH=\$PATH\" make ..."
}
