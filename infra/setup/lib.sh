# shellcheck shell=bash
# What the set-up scripts share; sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
deps=$root/.deps

say() { printf '==> %s\n' "$*"; }

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# in_scratch COMMAND… calls a function with a fresh folder under .deps as its last argument and
# removes the folder whatever happens: the same file system, so that mv into place is atomic.
in_scratch() {
	mkdir -p "$deps"
	(
		dir=$(mktemp -d "$deps/scratch.XXXXXX")
		trap 'rm -rf "$dir"' EXIT
		"$@" "$dir"
	)
}

# has_sha256 FILE SUM
has_sha256() {
	[[ -f $1 ]] && printf '%s  %s\n' "$2" "$1" | sha256sum --check --status
}

# npm_tarball NAME VERSION SUM DIR prints the path of the package's tarball with that SHA-256. A copy
# lying in .deps is used, so that a machine without a registry can be prepared by hand; else it is
# downloaded into DIR. Nothing of the package is run.
npm_tarball() {
	local file=${1#@}-$2.tgz
	file=${file//\//-} # a scope's slash, as npm writes it
	if [[ -f $deps/$file ]]; then
		has_sha256 "$deps/$file" "$3" || die ".deps/$file is not the file it should be (SHA-256 $3); remove it and try again"
		printf '%s\n' "$deps/$file"
		return
	fi
	say "download $1 $2" >&2
	npm pack "$1@$2" --ignore-scripts --silent --pack-destination "$4" >/dev/null ||
		die "npm could not download $1 $2; is there a network, and which registry does \`npm config get registry\` name?"
	has_sha256 "$4/$file" "$3" ||
		die "$1 $2 has SHA-256 $(sha256sum <"$4/$file" | cut -d' ' -f1), want $3: not installed"
	printf '%s\n' "$4/$file"
}
