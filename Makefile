# Facet's targets; `make help` lists them. Everything downloaded or built lands in .deps, bin and out.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export CGO_ENABLED := 1
# Tests and the bench look for the S3 server on the path.
export PATH := $(CURDIR)/.deps/bin:$(PATH)

GOLANGCI_LINT := v2.15.0
TEST = go test -race -shuffle=on

.NOTPARALLEL: # the targets share .deps, and go spreads over the cores by itself
.PHONY: help setup setup-tests build test check lint bench profile e2e demo gallery demo-model picture compare soak examples python clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing: Debian packages, ONNX Runtime (demo and test do it, too)
	@infra/setup/setup.sh

setup-tests:
	@infra/setup/setup.sh tests

build: setup ## build the command: bin/facet
	go build -o bin/facet ./jobs/facet

test: setup-tests check ## every test: unit, race, conformance, end to end
	@$(TEST) -tags onnxgo ./stages/engine/onnxgo
	@$(TEST) -timeout 20m ./...

check: setup ## formatting and go vet
	@unformatted=$$(gofmt -l $(wildcard */)); [[ -z $$unformatted ]] || { echo "not gofmt-ed: $$unformatted" >&2; exit 1; }
	@go vet -race ./... # -race: on what the tests build anyway

lint: setup check ## golangci-lint and shellcheck
	@infra/setup/lint.sh $(GOLANGCI_LINT)

bench: build setup-tests ## figures, each a ratio to a peer or a limit measured in the same run
	@infra/setup/python.sh || echo 'bench: without the Python peer'
	go run ./bench

profile: build setup-tests ## where an image's time goes: CPU profile of an end-to-end run in out/profile
	go run ./bench -profile out/profile

e2e: setup-tests ## only the end-to-end tests, in full
	$(TEST) -count=1 -timeout 30m -tags e2e -run 'TestE2E|TestEndToEnd' ./...

demo: build gallery ## index 7,562 emoji and search them
	@infra/setup/demo.sh

gallery: setup ## fetch the demo's gallery into out/demo/gallery
	@infra/setup/gallery.sh

demo-model: build gallery ## train the demo's model on the emoji, into testdata/demo/model.onnx
	rm -rf out/demo/training
	ONEDNN_MAX_CPU_ISA=AVX2 bin/facet train -c testdata/demo/train.yaml # AVX-512 sums in another order
	cp out/demo/training/model.onnx testdata/demo/model.onnx

picture: demo ## draw docs/neighbours.png from the demo's snapshot
	bin/facet picture --output out/demo/index --gallery out/demo/gallery --to docs/neighbours.png -k 9 \
		--key google/1f64b-1f3fb-200d-2640-fe0f.png --key twitter/1f44b-1f3ff.png --key google/1f469-1f3fd-200d-1f680.png

compare: build ## train the paper's methods on the fashion gallery and compare them; an hour, goes on where it was stopped
	@infra/setup/fashion.sh
	bin/facet compare -c bench/compare.yaml
	bin/facet compare -c bench/compare-common.yaml
	bin/facet compare -c bench/compare-wide.yaml

soak: setup-tests ## the long tests, hours
	$(TEST) -count=1 -timeout 12h -tags soak ./...

examples: demo setup-tests python ## read the demo's snapshot with Python, SQL and Go
	.deps/python/bin/python docs/examples/read.py out/demo/index
	node tools/duckdb/query.mjs --set root=out/demo/index docs/examples/read.sql
	go run ./docs/examples/go out/demo/index

python: ## a Python with pyarrow, faiss and DuckDB for bench and examples, in .deps/python
	@infra/setup/python.sh

clean: ## remove what was built and made, keep what was downloaded
	rm -rf bin out
