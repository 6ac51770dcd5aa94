package index

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/engine/ort"
	"github.com/facet-search/facet/stages/imaging"
)

// reference is the arrays of a .npz file, their data as written.
type reference map[string][]byte

func readNPZ(t *testing.T, name string) reference {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	arrays := reference{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || len(data) < 10 {
			t.Fatalf("%s: %v", f.Name, err)
		}
		header := 10 + int(binary.LittleEndian.Uint16(data[8:]))
		arrays[strings.TrimSuffix(f.Name, ".npy")] = data[header:]
	}
	return arrays
}

// unicode4 reads NumPy's <U4: four code points of four bytes, zeros at the end. The ids are digits.
func unicode4(data []byte) []string {
	var texts []string
	for ; len(data) >= 16; data = data[16:] {
		var text []byte
		for i := 0; i < 16 && data[i] != 0; i += 4 {
			text = append(text, data[i])
		}
		texts = append(texts, string(text))
	}
	return texts
}

// photos reads the named images out of the gallery's tar.
func photos(t *testing.T, ids []string) [][]byte {
	t.Helper()
	at := map[string]int{}
	for i, id := range ids {
		at[id+".jpg"] = i
	}
	f, err := os.Open(testenv.Shared(t, "gallery/fashion/images.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, images := 0, make([][]byte, len(ids))
	for r := tar.NewReader(f); found < len(ids); {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%d of %d reference images are in the tar", found, len(ids))
		}
		if err != nil {
			t.Fatal(err)
		}
		i, ok := at[path.Base(h.Name)]
		if !ok {
			continue
		}
		if images[i], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		found++
	}
	return images
}

// From JPEG bytes to vectors, everything is what Pillow and PyTorch make of the same 200 photos: the
// pixels bit for bit, the embeddings to a cosine of 0.99999.
func TestParityWithPillowAndPyTorch(t *testing.T) {
	testenv.ONNXRuntime(t)
	ref := readNPZ(t, testenv.Shared(t, "models/fashion/reference.npz"))
	file, err := os.ReadFile(testenv.Shared(t, "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	ids := unicode4(ref["ids"])
	if len(ids) != 200 {
		t.Fatalf("%d reference images, want 200", len(ids))
	}
	items := decodeAll(t, m.Preprocess, photos(t, ids), ref["pixels"])
	checkEmbeddings(t, m, file, items, ref)
}

func decodeAll(t *testing.T, p pipeline.Preprocess, images [][]byte, want []byte) []*pipeline.Item {
	t.Helper()
	d, err := imaging.NewDecoder(p, imaging.Limits{}, imaging.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, w := p.Output()
	size := 3 * h * w
	var items []*pipeline.Item
	for i, data := range images {
		it := &pipeline.Item{Pixels: make([]byte, size)}
		if _, err := d.Decode(data, it.Pixels); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(it.Pixels, want[i*size:(i+1)*size]) {
			t.Errorf("pixels of image %d differ from Pillow's", i)
		}
		items = append(items, it)
	}
	return items
}

func checkEmbeddings(t *testing.T, m *modulation.Model, file []byte, items []*pipeline.Item, ref reference) {
	t.Helper()
	h, w := m.Preprocess.Output()
	spec := engine.Spec{Input: m.Input, Height: h, Width: w}
	for _, task := range m.Tasks {
		spec.Outputs, spec.Dims = append(spec.Outputs, task.Output), append(spec.Dims, task.Dim)
	}
	e, err := ort.Open(file, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	embed, err := stages.NewEmbed(e, m.Tasks, m.Preprocess, len(items), 1, &stages.Buffers{})
	if err != nil {
		t.Fatal(err)
	}
	defer embed.Close()
	out, err := embed.Process(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	for i, task := range m.Tasks {
		want := make([]float32, len(items)*task.Dim)
		data, ok := ref[task.Name]
		if !ok {
			data, ok = ref["embedding_"+task.Name]
		}
		if !ok {
			t.Fatalf("the reference has no embeddings of %s", task.Name)
		}
		if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, want); err != nil {
			t.Fatal(err)
		}
		for j := range items {
			a, b := out.Vectors[i][j*task.Dim:(j+1)*task.Dim], want[j*task.Dim:(j+1)*task.Dim]
			if c := cosine(a, b); !(c >= 0.99999) {
				t.Errorf("%s of image %d: cosine %.7f to PyTorch's", task.Name, j, c)
			}
		}
	}
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}
