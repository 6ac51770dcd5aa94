package imaging

import (
	"sync"
	"testing"

	"github.com/facet-search/facet/internal/hostile"
)

// corpus is made once.
var corpus = sync.OnceValues(func() ([]hostile.Case, error) { return hostile.Corpus("testdata", hostile.Flips) })

// Each of some hundred broken and hostile images is rejected for the right reason, or has Pillow's pixels,
// whichever kernel runs.
func TestHostileImages(t *testing.T) {
	cases, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	pillow, err := hostile.ReadPillow("testdata/hostile.json")
	if err != nil {
		t.Fatal(err)
	}
	stricter := 0
	for name, kernel := range kernels() {
		d := newDecoder(t, hostile.Preprocess(), Options{Kernel: kernel})
		for _, c := range cases {
			if info, _ := Peek(c.Data); name == "go" && info.Width*info.Height > 1<<20 {
				continue // takes seconds under the race detector, and is shown by the small ones
			}
			dst := make([]byte, d.OutputBytes())
			_, err := d.Decode(c.Data, dst)
			reason := reasonOf(t, err)
			if wrong := pillow.Check(c, reason, dst); wrong != nil {
				t.Errorf("%s: %v (%v)", name, wrong, err)
			}
			if name == "portable" && reason != "" && pillow[c.Name].Error == "" {
				stricter++
			}
		}
	}
	t.Logf("%d images, %d of which only Pillow decodes", len(cases), stricter)
}
