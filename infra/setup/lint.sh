#!/usr/bin/env bash
# Usage: lint.sh VERSION. Builds that golangci-lint into .deps/bin once, and runs it and shellcheck.
set -euo pipefail
# shellcheck source=infra/setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=${1:?usage: lint.sh VERSION}
module=github.com/golangci/golangci-lint/v2
bin=$deps/bin/golangci-lint
cd "$root"

# build_linter DIR
build_linter() {
	GOBIN=$1 go install "$module/cmd/golangci-lint@$version"
	mkdir -p "$deps/bin"
	mv "$1/golangci-lint" "$bin"
}

if ! go version -m "$bin" 2>/dev/null | grep -qF "$module	$version"; then
	say "build golangci-lint $version"
	in_scratch build_linter
fi
"$bin" run ./...
if command -v shellcheck >/dev/null; then
	git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck --external-sources
else
	say "shellcheck is not installed: scripts not checked"
fi
