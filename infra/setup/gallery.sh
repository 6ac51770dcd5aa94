#!/usr/bin/env bash
# Fetches the demo's gallery: the emoji of two vendors whose licences allow it (see NOTICE), as
# out/demo/gallery/{google,twitter}/*.png and out/demo/labels.csv.
set -euo pipefail
# shellcheck source=infra/setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=16.0.0
google=fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438
twitter=f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877
images=7562 # two vendors × (3,786 images − 5 swatches of skin tones)

out=${1:-$root/out/demo}

count() { find "$out/gallery" -name '*.png' -type f 2>/dev/null | wc -l; }

# make_gallery DIR
make_gallery() {
	local g t
	g=$(npm_tarball emoji-datasource-google "$version" "$google" "$1")
	t=$(npm_tarball emoji-datasource-twitter "$version" "$twitter" "$1")
	(cd "$root" && go run ./infra/setup/emoji -out "$out" "google=$g" "twitter=$t")
}

[[ -f $out/labels.csv && $(count) == "$images" ]] && exit 0
say "fetch the demo's gallery (136 MB)"
in_scratch make_gallery
[[ $(count) == "$images" ]] || die "$(count) images in $out/gallery, want $images"
sed -n '/^Emoji images/,/^$/p' "$root/NOTICE"
