package onnxgo

import (
	"errors"
	"fmt"
	"slices"

	"github.com/facet-search/facet/stages/engine"
)

// The operator sets in which the operators of rules.go mean what onnx-go takes them for.
const (
	minOpset = 13
	maxOpset = 21
)

// maxElements bounds the tensors that onnx-go allocates for declared values before anything else.
const maxElements = 1 << 26

// checker walks the nodes in order with the shapes of what they have yielded, for a batch of one image.
type checker struct {
	*graph
	shapes map[string][]int64
	uses   map[string]int  // how many inputs of nodes a tensor is
	seen   map[string]bool // what nodes compute
}

// check reports the first node, in the order of the file, that onnx-go would compute wrongly.
func check(g *graph, spec engine.Spec) error {
	if g.opset < minOpset || g.opset > maxOpset {
		return fmt.Errorf("operator set %d, want %d to %d", g.opset, minOpset, maxOpset)
	}
	c := checker{graph: g, shapes: make(map[string][]int64), uses: make(map[string]int), seen: make(map[string]bool)}
	if err := c.checkInput(spec); err != nil {
		return err
	}
	for _, v := range slices.Concat(g.inputs, g.values) {
		if size(v.dims) < 0 {
			return fmt.Errorf("tensor %q is declared with shape %v", v.name, v.dims)
		}
	}
	for _, n := range g.nodes {
		for _, in := range n.in {
			c.uses[in]++
		}
	}
	for _, n := range g.nodes {
		if err := c.checkNode(n); err != nil {
			return fmt.Errorf("%s: %w", n.title(), err)
		}
	}
	return c.checkOutputs(spec)
}

func (c *checker) checkInput(spec engine.Spec) error {
	var fed []string
	for _, v := range c.inputs {
		if _, constant := c.weights[v.name]; !constant {
			fed = append(fed, v.name)
		}
	}
	if len(fed) != 1 || fed[0] != spec.Input {
		return fmt.Errorf("the model must have the single input %q, it has %q", spec.Input, fed)
	}
	c.shapes[spec.Input] = []int64{1, 3, int64(spec.Height), int64(spec.Width)}
	return nil
}

// size is the number of elements with symbolic extents left out, as onnx-go does; negative when
// that is out of bounds.
func size(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		if d == -1 {
			continue
		}
		if d < 1 || n > maxElements/d {
			return -1
		}
		n *= d
	}
	return n
}

func (c *checker) checkNode(n node) error {
	r, ok := rules[n.op]
	if !ok || n.domain != "" && n.domain != "ai.onnx" {
		return errors.New("the operator is not on the list of those that are known to be right")
	}
	for name := range n.attributes {
		if !slices.Contains(r.attributes, name) {
			return fmt.Errorf("with the attribute %q it is not known to be right", name)
		}
	}
	if len(n.out) != 1 || n.out[0] == "" || len(n.in) < r.inputs[0] || len(n.in) > r.inputs[1] || slices.Contains(n.in, "") {
		return fmt.Errorf("%d inputs and %d outputs, want %d to %d and one", len(n.in), len(n.out), r.inputs[0], r.inputs[1])
	}
	for i, in := range n.in {
		if slices.Contains(n.in[:i], in) {
			return fmt.Errorf("reads %q twice, which onnx-go takes for once", in)
		}
		if w, constant := c.weights[in]; constant && (w.dataType != 1 || size(w.dims) < 0 || slices.Contains(w.dims, -1)) {
			return fmt.Errorf("the constant %q is not float32 or has the shape %v", in, w.dims)
		} else if !constant && c.shapes[in] == nil {
			return fmt.Errorf("reads %q, which nothing before it yields", in)
		}
	}
	shape, err := r.check(c, n)
	if err != nil {
		return err
	}
	if size(shape) < 0 {
		return fmt.Errorf("yields the shape %v", shape)
	}
	if _, constant := c.weights[n.out[0]]; constant || c.shapes[n.out[0]] != nil {
		return fmt.Errorf("yields %q, which is there already", n.out[0])
	}
	// onnx-go makes one node of them, and a rule that counts who reads a tensor would count wrong.
	what := fmt.Sprintf("%s %v %q", n.op, n.attributes, n.in)
	if c.seen[what] {
		return errors.New("another node computes the same, and merging the two leads onnx-go astray")
	}
	c.seen[what] = true
	c.shapes[n.out[0]] = shape
	return nil
}

func (c *checker) checkOutputs(spec engine.Spec) error {
	for i, name := range spec.Outputs {
		switch want := []int64{1, int64(spec.Dims[i])}; {
		case name == spec.Input || c.shapes[name] == nil:
			return fmt.Errorf("no node yields the output %q", name)
		case c.uses[name] > 0:
			return fmt.Errorf("the output %q is also read by a node, and then onnx-go does not put it out", name)
		case !slices.Equal(c.shapes[name], want):
			return fmt.Errorf("the output %q has shape %v an image, want %v", name, c.shapes[name], want)
		}
	}
	return nil
}

// constant is the shape of input i, which must be an initialiser.
func (c *checker) constant(n node, i int) ([]int64, error) {
	w, ok := c.weights[n.in[i]]
	if !ok {
		return nil, fmt.Errorf("its input %d, %q, is not an initialiser", i, n.in[i])
	}
	return w.dims, nil
}

var errComputed = errors.New("its first input is a constant, which onnx-go may overwrite")

// computed is the shape of input 0, which must not be a constant.
func (c *checker) computed(n node) ([]int64, error) {
	if s := c.shapes[n.in[0]]; s != nil {
		return s, nil
	}
	return nil, errComputed
}
