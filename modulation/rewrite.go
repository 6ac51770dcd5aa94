package modulation

import (
	"fmt"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/weave"
)

// input is the shape of the model's images; the first extent does not count.
func (m *Model) input() graph.Shape {
	h, w := m.Preprocess.Output()
	return graph.Shape{1, 3, int64(h), int64(w)}
}

// Fold is the model with scales and batch norms multiplied into weights: fewer nodes, the same tasks,
// outputs equal up to rounding, other digests. Scales before a layer with more than copies weights stay
// as they are, so that tasks share these weights; 0 folds all that can be folded.
func Fold(file []byte, copies int) ([]byte, error) {
	m, err := Open(file, Overrides{})
	if err != nil {
		return nil, fmt.Errorf("fold: %w", err)
	}
	p, err := weave.Fold(m.graph.Model, weave.Folding{Input: m.input(), Copies: copies})
	if err != nil {
		return nil, err
	}
	return onnx.Write(p)
}
