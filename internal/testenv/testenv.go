// Package testenv finds what tests need from outside the package under test: the module's root, the
// shared gallery and model beside it, and ONNX Runtime's library as `make setup` leaves it.
package testenv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/facet-search/facet/stages/engine/ort"
)

// Root is the folder that holds go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

// Shared is the path of a file of the shared development data. The test is skipped where that data
// is absent altogether; a file missing from it is an error.
func Shared(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(Root(t)), "shared")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the shared development data is not on this machine: ../shared is absent")
	}
	p := filepath.Join(dir, name)
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("shared development data: %v", err)
	}
	return p
}

// ONNXRuntime lets the test binary find the library, which the command finds beside itself.
func ONNXRuntime(t testing.TB) {
	t.Helper()
	if os.Getenv(ort.LibraryEnv) != "" {
		return
	}
	p := filepath.Join(Root(t), ".deps/onnxruntime/lib/libonnxruntime.so.1")
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("ONNX Runtime is not set up (%v); run `make setup`", err)
	}
	t.Setenv(ort.LibraryEnv, p)
}
