package picture

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild() // jobs/index runs FAISS in a child process, which is this binary again
	os.Exit(m.Run())
}

// gallery is images of one colour each.
func gallery(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 12 {
		im := image.NewNRGBA(image.Rect(0, 0, 20, 20))
		for at := range 400 {
			im.SetNRGBA(at%20, at/20, color.NRGBA{R: uint8(20 * i), G: 100, B: uint8(250 - 20*i), A: 255})
		}
		var b bytes.Buffer
		if err := png.Encode(&b, im); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".png"), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The query stands at the left; every row's neighbours are images of the gallery, none the query itself.
func TestRender(t *testing.T) {
	testenv.ONNXRuntime(t)
	job := index.Defaults()
	job.Gallery.Prefix, job.Model.Path = gallery(t), filepath.Join(testenv.Root(t), "testdata/demo/model.onnx")
	job.Output, job.Scratch = t.TempDir(), t.TempDir()
	if _, err := index.Run(t.Context(), job, progress.Discard()); err != nil {
		t.Fatal(err)
	}
	s := Spec{Output: job.Output, Gallery: job.Gallery.Prefix, Keys: []string{"a.png", "f.png"}, K: 3}
	data, err := Render(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	im, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	const tasks = 4
	if want := image.Pt(2*margin+tile+gap+label+3*(tile+gap), 3*margin+2*tasks*(tile+gap)); im.Bounds().Max != want {
		t.Fatalf("the picture is %v, want %v", im.Bounds().Max, want)
	}
	at := func(x, y int) [2]int {
		r, _, b, _ := im.At(x+tile/2, y+tile/2).RGBA()
		return [2]int{int(r >> 8), int(b >> 8)}
	}
	for q, red := range []int{0, 100} {
		top := margin + q*(tasks*(tile+gap)+margin)
		if got := at(margin, top); got != [2]int{red, 250 - red} {
			t.Errorf("query %d has red and blue %v", q, got)
		}
		for row := range tasks {
			for k := range 3 {
				got := at(margin+tile+gap+label+k*(tile+gap), top+row*(tile+gap))
				if got[0]+got[1] != 250 || got[0]%20 != 0 || got[0] == red {
					t.Errorf("query %d, row %d, neighbour %d has red and blue %v", q, row, k, got)
				}
			}
		}
	}
	s.Tasks = []string{"no task"}
	if _, err := Render(t.Context(), s); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("an unknown task: error %v", err)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		want error
	}{
		"no key":      {Spec{Output: "o", Gallery: "g", K: 1}, jobfile.ErrConfig},
		"no column":   {Spec{Output: "o", Gallery: "g", Keys: []string{"a"}}, jobfile.ErrConfig},
		"too large":   {Spec{Output: "o", Gallery: "g", Keys: make([]string, 11), Tasks: []string{"t"}, K: 1000}, jobfile.ErrConfig},
		"no snapshot": {Spec{Output: t.TempDir(), Gallery: t.TempDir(), Keys: []string{"a"}, K: 1}, sinks.ErrNoSnapshot},
	} {
		if _, err := Render(t.Context(), c.spec); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}
