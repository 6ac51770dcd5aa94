package testenv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
)

// PixelTask is the one task of PixelModel.
const PixelTask = "pixels"

// PixelModel writes a model whose embedding of an image is the image, as the preprocessing makes it: what
// a job publishes then shows what it decoded, and running it costs next to nothing. The vector is planar:
// red, green, blue. It returns the file's path and the vector's length.
func PixelModel(t testing.TB, p pipeline.Preprocess) (path string, dim int) {
	t.Helper()
	h, w := p.Output()
	dim = 3 * h * w
	m := onnx.NewModel(17, &onnx.GraphProto{
		Name:   new(PixelTask),
		Node:   []*onnx.NodeProto{onnx.NewNode("Flatten", []string{"images"}, []string{"embedding_pixels"})},
		Input:  []*onnx.ValueInfoProto{onnx.NewImages("images", 3, int64(h), int64(w))},
		Output: []*onnx.ValueInfoProto{onnx.NewImages("embedding_pixels", int64(dim))},
	})
	task := pipeline.Task{Name: PixelTask, Output: "embedding_pixels", Dim: dim, Metric: pipeline.L2}
	if err := modulation.SetMetadata(m, []pipeline.Task{task}, p); err != nil {
		t.Fatal(err)
	}
	data, err := onnx.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "pixels.onnx")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, dim
}
