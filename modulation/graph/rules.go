package graph

import (
	"errors"
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// call is one node with the shapes of its inputs; in[0] is known, the others may be nil.
type call struct {
	s  *Shapes
	n  *onnx.NodeProto
	in []Shape
}

// rules says of the operators that image networks are made of which shapes they yield.
var rules = ruleTable()

func ruleTable() map[string]func(call) ([]Shape, error) {
	t := map[string]func(call) ([]Shape, error){
		"Conv": one(conv), "QLinearConv": one(qlinearConv), "ConvInteger": one(conv), "MaxPool": pool, "AveragePool": pool, "LpPool": pool,
		"Gemm": one(gemm), "MatMul": one(matmul), "MatMulInteger": one(matmul), "QLinearMatMul": one(qlinearMatmul),
		"Flatten": one(flatten), "Reshape": one(reshape), "Transpose": one(transpose), "Squeeze": one(squeeze),
		"Unsqueeze": one(unsqueeze), "Concat": one(concat), "Expand": one(expand), "Pad": one(pad), "Slice": one(slice),
		"Split": split, "Shape": one(shapeOf), "Gather": one(gather),
	}
	for _, op := range []string{"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"} {
		t[op] = one(globalPool)
	}
	for _, op := range []string{"Abs", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "DequantizeLinear", "Dropout", "Elu",
		"Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN",
		"LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg", "Not",
		"PRelu", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softmax", "Softplus", "Softsign",
		"Sqrt", "Tanh", "ThresholdedRelu"} {
		t[op] = one(same)
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Where", "Mod",
		"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or"} {
		t[op] = one(broadcastAll)
	}
	for _, op := range []string{"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
		"ReduceProd", "ReduceSum", "ReduceSumSquare"} {
		t[op] = one(reduce)
	}
	return t
}

// one makes a rule of a function for operators whose first output alone matters.
func one(f func(call) (Shape, error)) func(call) ([]Shape, error) {
	return func(c call) ([]Shape, error) {
		s, err := f(c)
		return []Shape{s}, err
	}
}

var errInputs = errors.New("the shapes of its inputs are not known or do not fit")

// known reports whether the first n inputs have known shapes.
func (c call) known(n int) bool {
	return len(c.in) >= n && !slices.ContainsFunc(c.in[:n], func(s Shape) bool { return s == nil })
}

func same(c call) (Shape, error) { return c.in[0], nil }

func broadcastAll(c call) (Shape, error) {
	out := Shape{}
	if !c.known(len(c.in)) {
		return nil, errInputs
	}
	for _, s := range c.in {
		var err error
		if out, err = broadcast(out, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// broadcast is NumPy's rule for two shapes.
func broadcast(a, b Shape) (Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	off := len(a) - len(b)
	for i, d := range b {
		switch {
		case out[off+i] == 1:
			out[off+i] = d
		case d != 1 && d != out[off+i]:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

// window is what convolution and pooling have in common, by spatial axis.
type window struct {
	kernel, strides, dilations, pads []int64 // pads: all beginnings, then all ends
	autoPad                          string
	ceil                             bool
}

func (c call) window(kernel []int64) (window, error) {
	d := len(kernel)
	fill := func(name string, n int, v int64) []int64 {
		if a := c.n.Ints(name); a != nil {
			return a
		}
		return slices.Repeat([]int64{v}, n)
	}
	w := window{
		kernel: kernel, strides: fill("strides", d, 1), dilations: fill("dilations", d, 1), pads: fill("pads", 2*d, 0),
		autoPad: string(c.n.Attr("auto_pad").GetS()), ceil: c.n.Int("ceil_mode", 0) != 0,
	}
	if len(w.strides) != d || len(w.dilations) != d || len(w.pads) != 2*d {
		return w, errors.New("its strides, dilations or pads do not fit its kernel")
	}
	for _, v := range slices.Concat(w.kernel, w.strides, w.dilations) {
		if v < 1 || v > maxExtent {
			return w, errors.New("its kernel, strides or dilations are out of range")
		}
	}
	for _, v := range w.pads {
		if v < 0 || v > maxExtent {
			return w, errors.New("its pads are out of range")
		}
	}
	return w, nil
}

// maxExtent bounds kernels, strides and pads, so that their products do not overflow.
const maxExtent = 1 << 20

// slide is the extent that the window yields on spatial axis i of extent in.
func (w window) slide(i int, in int64) (int64, error) {
	stride, reach := w.strides[i], (w.kernel[i]-1)*w.dilations[i]+1
	switch w.autoPad {
	case "SAME_UPPER", "SAME_LOWER":
		return (in + stride - 1) / stride, nil
	case "", "NOTSET":
		in += w.pads[i] + w.pads[i+len(w.kernel)]
	}
	if in < reach {
		return 0, fmt.Errorf("its window of %d does not fit into %d", reach, in)
	}
	out := (in-reach)/stride + 1
	if w.ceil && (in-reach)%stride != 0 {
		if out*stride >= in-w.pads[i+len(w.kernel)] {
			return 0, errors.New("its last window lies in the padding, where versions of ONNX differ")
		}
		out++
	}
	return out, nil
}

func (w window) slideAll(head, spatial Shape) (Shape, error) {
	out := slices.Clone(head)
	for i, in := range spatial {
		d, err := w.slide(i, in)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func conv(c call) (Shape, error) {
	if !c.known(2) {
		return nil, errInputs
	}
	return convolve(c, c.in[0], c.in[1])
}

func qlinearConv(c call) (Shape, error) {
	if len(c.in) < 4 || c.in[3] == nil {
		return nil, errInputs
	}
	return convolve(c, c.in[0], c.in[3])
}

// convolve slides weights [M, C/group, k…] over x [N, C, …].
func convolve(c call, x, weights Shape) (Shape, error) {
	group := c.n.Int("group", 1)
	if len(x) < 3 || len(weights) != len(x) || group < 1 || group > maxExtent ||
		weights[1] > maxElements/group || x[1] != weights[1]*group || weights[0]%group != 0 {
		return nil, fmt.Errorf("weights %v in %d groups do not fit input %v", weights, group, x)
	}
	w, err := c.window(weights[2:])
	if err != nil {
		return nil, err
	}
	return w.slideAll(Shape{x[0], weights[0]}, x[2:])
}

func pool(c call) ([]Shape, error) {
	x, kernel := c.in[0], c.n.Ints("kernel_shape")
	if len(x) < 3 || len(kernel) != len(x)-2 {
		return nil, errInputs
	}
	w, err := c.window(kernel)
	if err != nil {
		return nil, err
	}
	out, err := w.slideAll(x[:2], x[2:])
	return []Shape{out, out}, err
}

func globalPool(c call) (Shape, error) {
	if len(c.in[0]) < 3 {
		return nil, errInputs
	}
	out := slices.Repeat(Shape{1}, len(c.in[0]))
	copy(out, c.in[0][:2])
	return out, nil
}

func gemm(c call) (Shape, error) {
	if !c.known(2) || len(c.in[0]) != 2 || len(c.in[1]) != 2 {
		return nil, errInputs
	}
	a, b := slices.Clone(c.in[0]), slices.Clone(c.in[1])
	if c.n.Int("transA", 0) != 0 {
		slices.Reverse(a)
	}
	if c.n.Int("transB", 0) != 0 {
		slices.Reverse(b)
	}
	if a[1] != b[0] {
		return nil, fmt.Errorf("matrices %v and %v do not fit", a, b)
	}
	return Shape{a[0], b[1]}, nil
}

func matmul(c call) (Shape, error) {
	if !c.known(2) {
		return nil, errInputs
	}
	return multiply(c.in[0], c.in[1])
}

func qlinearMatmul(c call) (Shape, error) {
	if len(c.in) < 4 || c.in[3] == nil {
		return nil, errInputs
	}
	return multiply(c.in[0], c.in[3])
}

func multiply(a, b Shape) (Shape, error) {
	if len(a) < 2 || len(b) < 2 || a[len(a)-1] != b[len(b)-2] {
		return nil, fmt.Errorf("matrices %v and %v do not fit", a, b)
	}
	out, err := broadcast(a[:len(a)-2], b[:len(b)-2])
	if err != nil {
		return nil, err
	}
	return append(out, a[len(a)-2], b[len(b)-1]), nil
}
