package modulation_test

import (
	"os"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/modulation"
)

func referenceFile(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile(testenv.Shared(t, "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFoldReference(t *testing.T) {
	file := referenceFile(t)
	images := enginetest.Images(3 * 3 * 64 * 64)
	want := enginetest.Run(t, file, images)
	folded, err := modulation.Fold(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(open(t, folded).Inspect())
	enginetest.Compare(t, enginetest.Run(t, folded, images), want, enginetest.Tolerance)
}
