#!/usr/bin/env bash
# The second half of `make demo`: index the gallery, search it by every task, check the snapshot.
set -euo pipefail
# shellcheck source=infra/setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
job=testdata/demo/index.yaml
out=out/demo/index
query=google/1f64b-1f3fb-200d-2640-fe0f.png # a woman of light skin raises her hand

# run prints a command as one would type it, and runs it.
run() {
	printf '\n$ %s\n' "$*"
	"$@"
}

# tasks prints the names of the published tasks, one a line.
tasks() {
	node - "$out" <<'JS'
const fs = require('fs'), root = process.argv[2]
const read = (name) => JSON.parse(fs.readFileSync(`${root}/${name}`))
for (const t of read(`snapshots/${read('CURRENT').snapshot}/manifest.json`).tasks) console.log(t.name)
JS
}

run bin/facet index -c "$job"
names=$(tasks)
for task in $names; do
	run bin/facet search --output "$out" --task "$task" --key "$query" -k 5
done
run bin/facet search --output "$out" --task "${names%%$'\n'*}" --image "out/demo/gallery/$query" -k 5
run bin/facet verify --output "$out"

cat <<END

What lies where:
  out/demo/gallery           the images, and their labels in out/demo/labels.csv
  $out             the snapshot: CURRENT names it, its manifest.json lists its files
  $job   the job file; change it and run bin/facet index again
  docs/examples              reading the snapshot from Python, SQL and Go: make examples
END
