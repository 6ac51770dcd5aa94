#!/usr/bin/env bash
# Unpacks the shared fashion gallery, which is not part of this repository, into out/fashion.
set -euo pipefail
# shellcheck source=infra/setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tar=$root/../shared/gallery/fashion/images.tar
out=$root/out/fashion
images=36485

count() { find "$out/images" -name '*.jpg' -type f 2>/dev/null | wc -l; }

[[ $(count) == "$images" ]] && exit 0
[[ -r $tar ]] || die "$tar is not there: the fashion gallery is development data beside the repository"
say "unpack the fashion gallery"
mkdir -p "$out"
tar -xf "$tar" -C "$out"
[[ $(count) == "$images" ]] || die "$(count) images in $out/images, want $images"
