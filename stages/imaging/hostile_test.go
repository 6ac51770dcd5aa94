package imaging

import (
	"testing"

	"github.com/facet-search/facet/internal/hostile"
)

// Each of some hundred broken and hostile images is rejected for the right reason, or has Pillow's pixels,
// whichever kernel runs.
func TestHostileImages(t *testing.T) {
	cases, err := hostile.Corpus("testdata", hostile.Flips)
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
