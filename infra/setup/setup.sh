#!/usr/bin/env bash
# Installs what Facet needs and the machine lacks: Debian packages and ONNX Runtime; with the argument
# "tests" also what only tests use, an S3 server and DuckDB. Harmless to repeat, quick when all is there.
set -euo pipefail
# shellcheck source=infra/setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What cgo links and the build calls, by the names of Debian.
packages=(g++ libfaiss-dev libopenblas-dev libjpeg62-turbo-dev libspng-dev libwebp-dev libdnnl-dev)

ort_version=1.24.3 # speaks API 24, as the Go binding in go.mod does
ort_tarball=aa1bb5fa261ea68de05dd53efbba210cd7adf2d2850f4c3a201054c74cc78040
ort_lib=$deps/onnxruntime/lib/libonnxruntime.so.1

duckdb_version=1.5.6-r.1
declare -A duckdb_tarballs=(
	[node-api]=64d5080af3c0144329f9cbdbff7bc867c9c1f9df57a7e7e2a8b13bc6ed2bc664
	[node-bindings]=9d1ebca9020dcd5680e2e38bd182f1a0e69e59f00d31dfc5afca2623b8a34ac3
	[node-bindings-linux-x64]=1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff
)

# at_least WANT HAVE compares dotted versions.
at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

check_tools() {
	local go_want go_have
	go_want=$(awk '$1 == "go" {print $2}' "$root/go.mod")
	command -v go >/dev/null || die "Go is missing: install $go_want or newer"
	go_have=$(cd "$root" && go env GOVERSION) || die "Go refuses this module; it needs $go_want or newer"
	at_least "$go_want" "${go_have#go}" || die "Go is ${go_have#go}: install $go_want or newer"
	command -v npm >/dev/null || die "npm is missing: it brings the ONNX Runtime library (apt-get install npm)"
	at_least 18 "$(node --version | tr -d v)" || die "Node is $(node --version): install 18 or newer"
}

install_packages() {
	local missing=() sudo=() p
	for p in "${packages[@]}"; do
		dpkg-query --show --showformat='${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null ||
		die "there is no apt-get here; install what Debian calls: ${missing[*]}"
	if ((EUID)); then
		command -v sudo >/dev/null || die "as root: apt-get install ${missing[*]}"
		sudo=(sudo)
	fi
	say "install Debian packages: ${missing[*]}"
	"${sudo[@]}" apt-get update -q
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# install_onnxruntime takes the shared library out of the npm package, whose binaries are the
# project's own builds. The command looks for it beside itself, in ../.deps/onnxruntime/lib.
install_onnxruntime() {
	local member sum
	case $(uname -s)-$(uname -m) in
	Linux-x86_64)
		member=linux/x64
		sum=92ba8e44d31b80a34f5e805076a044122c3be1fffe0d88ed790de7267b0b2682
		;;
	*) die "no ONNX Runtime library is pinned for $(uname -sm); point FACET_ONNXRUNTIME at one of version $ort_version" ;;
	esac
	has_sha256 "$ort_lib" "$sum" || in_scratch unpack_onnxruntime "package/bin/napi-v6/$member/libonnxruntime.so.1" "$sum"
}

# unpack_onnxruntime MEMBER SUM DIR
unpack_onnxruntime() {
	local tarball
	tarball=$(npm_tarball onnxruntime-node "$ort_version" "$ort_tarball" "$3")
	tar -xzf "$tarball" -C "$3" "$1"
	has_sha256 "$3/$1" "$2" || die "libonnxruntime.so.1 in $tarball is not the one expected"
	chmod 0755 "$3/$1"
	mkdir -p "$(dirname "$ort_lib")"
	mv "$3/$1" "$ort_lib"
}

# install_s3_server builds versitygw at the version that tools/go.mod pins, in a module of its own:
# a server's dependencies have no place in go.mod.
install_s3_server() {
	local bin=$deps/bin/versitygw want
	want=$(cd "$root/tools" && go list -m -f '{{.Version}}' github.com/versity/versitygw)
	go version -m "$bin" 2>/dev/null | grep -qF "github.com/versity/versitygw	$want" && return
	say "build versitygw $want, the S3 server of the tests"
	in_scratch build_s3_server
}

# build_s3_server DIR
build_s3_server() {
	(cd "$root/tools" && GOBIN=$1 go install github.com/versity/versitygw/cmd/versitygw)
	mkdir -p "$deps/bin"
	mv "$1/versitygw" "$deps/bin/"
}

# install_duckdb puts DuckDB for Node where tools/duckdb/query.mjs finds it.
install_duckdb() {
	local have=$root/tools/duckdb/node_modules/@duckdb/node-api/package.json
	grep -qsF "\"version\": \"$duckdb_version\"" "$have" && return
	in_scratch unpack_duckdb
}

# unpack_duckdb DIR
unpack_duckdb() {
	local package tarball
	for package in "${!duckdb_tarballs[@]}"; do
		tarball=$(npm_tarball "@duckdb/$package" "$duckdb_version" "${duckdb_tarballs[$package]}" "$1")
		mkdir -p "$1/node_modules/@duckdb/$package"
		tar -xzf "$tarball" -C "$1/node_modules/@duckdb/$package" --strip-components=1
	done
	rm -rf "$root/tools/duckdb/node_modules"
	mv "$1/node_modules" "$root/tools/duckdb/"
}

what=${1:-}
[[ $what == "" || $what == tests ]] || die "unknown argument $what; usage: setup.sh [tests]"
check_tools
install_packages
if [[ -n ${FACET_ONNXRUNTIME:-} ]]; then
	[[ -r $FACET_ONNXRUNTIME ]] || die "FACET_ONNXRUNTIME names $FACET_ONNXRUNTIME, which cannot be read"
else
	install_onnxruntime
fi
if [[ $what == tests ]]; then
	install_s3_server
	install_duckdb
fi
