package modulation_test

import (
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/weave"
)

// Whatever a file holds, rewriting it neither panics nor leaves a file that does not open.
func FuzzRewrite(f *testing.F) {
	for _, name := range []string{"paper", "mobile", "vectors", "masks"} {
		n := enginetest.Nets()[name]
		f.Add(exported(f, n, enginetest.Trained(f, n), 17))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := modulation.Open(file, modulation.Overrides{})
		if err != nil {
			return
		}
		ones := map[string][][]float32{"new": nil}
		for name, rewrite := range map[string]func() ([]byte, error){
			"fold":  func() ([]byte, error) { return modulation.Fold(file, 0) },
			"prune": func() ([]byte, error) { return modulation.Prune(file, weave.Pruning{Multiple: 2, Copy: true}) },
			"cut":   func() ([]byte, error) { return modulation.Cut(file, []string{m.Tasks[0].Name}) },
			"weave": func() ([]byte, error) {
				return modulation.Weave(file, modulation.Weaving{Output: m.Tasks[0].Output, Sites: []string{weave.LastRule}, Scales: ones})
			},
		} {
			made, err := rewrite()
			if err != nil {
				continue
			}
			if _, err := modulation.Open(made, modulation.Overrides{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		p, err := onnx.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = exchange.Import(p, exchange.Source{}) // only not to panic
	})
}
