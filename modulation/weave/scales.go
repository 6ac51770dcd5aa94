package weave

import (
	"fmt"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Scale is a product with one constant a channel.
type Scale struct {
	Tensor string // what is scaled, without a task's "@task" behind
	Values []float32
}

// Scales finds the products with a constant a channel on the way to each output that lie on the way to
// no other: modulation that has not been folded. Of a single output, all of them count.
func Scales(m *onnx.ModelProto, input graph.Shape, outputs []string) ([][]Scale, error) {
	d, err := newDraft(m, input)
	if err != nil {
		return nil, fmt.Errorf("find scales: %w", err)
	}
	d.simplify()
	serves := map[*onnx.NodeProto]int{}
	for _, o := range outputs {
		for _, n := range d.ancestors(o) {
			serves[n]++
		}
	}
	at := map[*onnx.NodeProto]int{}
	for i, n := range d.sorted() {
		at[n] = i
	}
	found := make([][]Scale, len(outputs))
	for i, o := range outputs {
		mine := d.ancestors(o)
		slices.SortFunc(mine, func(a, b *onnx.NodeProto) int { return at[a] - at[b] })
		for _, n := range mine {
			a, ok := d.affine(n)
			if !is(n, "Mul") || !ok || serves[n] > 1 {
				continue
			}
			x, _, _ := strings.Cut(a.x, "@")
			found[i] = append(found[i], Scale{x, narrow(a.scale)})
		}
	}
	return found, nil
}
