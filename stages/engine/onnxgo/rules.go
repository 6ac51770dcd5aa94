package onnxgo

import (
	"errors"
	"fmt"
	"slices"
)

// rule says under which conditions onnx-go computes an operator right.
type rule struct {
	inputs     [2]int   // how few and how many
	attributes []string // those that it may have; check looks at their values
	check      func(*checker, node) (shape []int64, err error)
}

// rules is the allow-list. What stands here agrees with ONNX Runtime (see the tests); what does not is
// wrong, not there, or not tried.
var rules = map[string]rule{
	"Conv":              {[2]int{2, 3}, []string{"kernel_shape", "pads", "strides", "dilations", "group", "auto_pad"}, conv},
	"MaxPool":           {[2]int{1, 1}, []string{"kernel_shape", "pads", "strides", "ceil_mode", "auto_pad", "storage_order"}, maxPool},
	"GlobalAveragePool": {[2]int{1, 1}, nil, globalPool},
	"Flatten":           {[2]int{1, 1}, []string{"axis"}, flatten},
	"MatMul":            {[2]int{2, 2}, nil, matMul},
	"Gemm":              {[2]int{3, 3}, []string{"alpha", "beta", "transA", "transB"}, gemm},
	"Add":               {[2]int{2, 2}, nil, binary},
	"Sub":               {[2]int{2, 2}, nil, binary},
	"Mul":               {[2]int{2, 2}, nil, binary},
	"Div":               {[2]int{2, 2}, nil, binary},
	"Relu":              {[2]int{1, 1}, nil, unary},
	"Sigmoid":           {[2]int{1, 1}, nil, unary},
	"Tanh":              {[2]int{1, 1}, nil, unary},
	"Sqrt":              {[2]int{1, 1}, nil, unary},
	"Abs":               {[2]int{1, 1}, nil, unary},
	"Neg":               {[2]int{1, 1}, nil, unary},
}

// maxWindow bounds kernels, strides, pads and dilations.
const maxWindow = 1 << 12

// ints is an attribute of n integers within from…maxWindow, def each where the node does not write it.
func (n node) ints(name string, count int, from, def int64) ([]int64, error) {
	a, ok := n.attributes[name]
	if !ok {
		return slices.Repeat([]int64{def}, count), nil
	}
	bad := func(v int64) bool { return v < from || v > maxWindow }
	if len(a.ints) != count || slices.ContainsFunc(a.ints, bad) {
		return nil, fmt.Errorf("%s is %v, want %d numbers of at least %d", name, a.ints, count, from)
	}
	return a.ints, nil
}

// is reports whether an integer attribute has that value, or is not there.
func (n node) is(name string, want int64) bool {
	a, ok := n.attributes[name]
	return !ok || a.i == want
}

// slide is the shape [1, channels, H, W] after a window with the node's attributes.
func (n node) slide(x []int64, channels int64) ([]int64, error) {
	if s := n.attributes["auto_pad"].s; s != "" && s != "NOTSET" {
		return nil, fmt.Errorf("auto_pad %s", s)
	}
	kernel, err := n.ints("kernel_shape", 2, 1, 0)
	pads, err1 := n.ints("pads", 4, 0, 0)
	strides, err2 := n.ints("strides", 2, 1, 1)
	dilations, err3 := n.ints("dilations", 2, 1, 1)
	if err := errors.Join(err, err1, err2, err3); err != nil {
		return nil, err
	}
	if pads[0] != pads[1] || pads[0] != pads[2] || pads[0] != pads[3] {
		return nil, fmt.Errorf("pads %v differ, and onnx-go swaps them", pads)
	}
	out := []int64{1, channels}
	for i, in := range x[2:] {
		reach := (kernel[i]-1)*dilations[i] + 1
		if kernel[i] < 1 || in+2*pads[0] < reach {
			return nil, fmt.Errorf("its kernel %v is not written out or does not fit into %v", kernel, x)
		}
		out = append(out, (in+2*pads[0]-reach)/strides[i]+1)
	}
	return out, nil
}

func conv(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	if err != nil {
		return nil, err
	}
	w, err := c.constant(n, 1)
	if err != nil {
		return nil, err
	}
	switch kernel := n.attributes["kernel_shape"].ints; {
	case !n.is("group", 1):
		return nil, errors.New("grouped convolution is not there")
	case len(x) != 4 || len(w) != 4 || w[1] != x[1]:
		return nil, fmt.Errorf("weights %v do not fit %v", w, x)
	case !slices.Equal(kernel, w[2:]):
		return nil, fmt.Errorf("kernel_shape is %v, want it written out as %v", kernel, w[2:])
	}
	if len(n.in) == 3 {
		if b, err := c.constant(n, 2); err != nil || !slices.Equal(b, w[:1]) {
			return nil, fmt.Errorf("its bias is %v, want a constant of %v", b, w[:1])
		}
	}
	return n.slide(x, w[0])
}

func maxPool(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	if err != nil {
		return nil, err
	}
	if len(x) != 4 || !n.is("ceil_mode", 0) || !n.is("storage_order", 0) {
		return nil, errors.New("only without ceil_mode and storage_order on [N C H W] is it right")
	}
	return n.slide(x, x[1])
}

func globalPool(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	if err == nil && len(x) != 4 {
		err = fmt.Errorf("its input is %v, want [N C H W]", x)
	}
	if err != nil {
		return nil, err
	}
	return []int64{1, x[1], 1, 1}, nil
}

// flatten gives another shape to its input's memory, which onnx-go takes for free to overwrite once the
// other nodes that read the input are computed.
func flatten(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	switch {
	case err == nil && !n.is("axis", 1):
		err = errors.New("only axis 1 is right")
	case err == nil && c.uses[n.in[0]] != 1:
		err = fmt.Errorf("other nodes read %q too, and onnx-go may overwrite it for them", n.in[0])
	}
	if err != nil {
		return nil, err
	}
	return []int64{1, size(x)}, nil
}

func matMul(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	if err != nil {
		return nil, err
	}
	w, err := c.constant(n, 1)
	if err == nil && (len(x) != 2 || len(w) != 2 || w[0] != x[1]) {
		err = fmt.Errorf("%v does not fit %v", w, x)
	}
	if err != nil {
		return nil, err
	}
	return []int64{1, w[1]}, nil
}

// gemm writes its result into its bias, which therefore must be its own.
func gemm(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	if err != nil {
		return nil, err
	}
	w, err := c.constant(n, 1)
	b, err1 := c.constant(n, 2)
	if err := errors.Join(err, err1); err != nil {
		return nil, err
	}
	if len(x) != 2 || len(w) != 2 || !n.is("transA", 0) {
		return nil, fmt.Errorf("%v does not fit %v", w, x)
	}
	k, m := w[0], w[1]
	if n.attributes["transB"].i == 1 {
		k, m = m, k
	} else if !n.is("transB", 0) {
		return nil, errors.New("transB must be 0 or 1")
	}
	switch {
	case k != x[1] || !slices.Equal(b, []int64{m}) && !slices.Equal(b, []int64{1, m}):
		return nil, fmt.Errorf("weights %v and bias %v do not fit %v", w, b, x)
	case c.uses[n.in[2]] != 1:
		return nil, fmt.Errorf("its bias %q is read by another node too, and onnx-go writes the result into it", n.in[2])
	}
	return []int64{1, m}, nil
}

// binary takes operands of one shape; a constant [C 1 1] on [N C H W]; a constant [D] or [1 D] on [N D];
// and [N 1] on [N D].
func binary(c *checker, n node) ([]int64, error) {
	x, err := c.computed(n)
	if err != nil {
		return nil, err
	}
	if y := c.shapes[n.in[1]]; y != nil {
		if slices.Equal(x, y) || len(x) == 2 && slices.Equal(y, []int64{1, 1}) {
			return x, nil
		}
		return nil, fmt.Errorf("its operands are %v and %v, a broadcast that onnx-go guesses or lacks", x, y)
	}
	w := c.weights[n.in[1]].dims
	channels := len(x) == 4 && slices.Equal(w, []int64{x[1], 1, 1})
	row := len(x) == 2 && (slices.Equal(w, x) || slices.Equal(w, x[1:]))
	if !channels && !row {
		return nil, fmt.Errorf("its constant is %v, want [C 1 1] on [N C H W] or [D] on [N D]; onnx-go guesses or lacks the others", w)
	}
	return x, nil
}

func unary(c *checker, n node) ([]int64, error) { return c.computed(n) }
