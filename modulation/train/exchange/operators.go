package exchange

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/network"
)

var errOperator = errors.New("this operator cannot be trained here, which can: Conv, BatchNormalization, Relu, Clip as ReLU6, MaxPool, " +
	"AveragePool, GlobalAveragePool, ReduceMean over height and width, Add, Flatten, Gemm, MatMul, Mul by a constant a channel and " +
	"L2 normalisation; export a network of these, or name a tensor before this node as the output")

// node imports one node whose inputs have been imported.
func (i *importer) node(n *onnx.NodeProto) error {
	if onnx.CanonicalDomain(n.GetDomain()) != onnx.DefaultDomain {
		return errOperator
	}
	switch n.GetOpType() {
	case "Conv":
		return i.conv(n)
	case "Gemm", "MatMul":
		return i.dense(n)
	case "BatchNormalization":
		return i.batchNorm(n)
	case "Relu":
		i.add(n, network.ReLU{}, nil, n.In(0))
		return nil
	case "Clip":
		return i.clip(n)
	case "MaxPool", "AveragePool":
		return i.pool(n)
	case "GlobalAveragePool", "ReduceMean":
		return i.mean(n)
	case "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity":
		return i.flatten(n)
	case "Add", "Sub", "Mul", "Div":
		return i.pointwise(n)
	}
	return errOperator
}

// floats are the values of a constant float32 input.
func (i *importer) floats(n *onnx.NodeProto, input int) ([]float32, error) {
	t := i.g.Constant(n.In(input))
	if t == nil {
		return nil, fmt.Errorf("its input %d (%q) is not constant", input, n.In(input))
	}
	return t.Floats()
}

// of is the network's shape of a tensor.
func (i *importer) of(tensor string) (network.Shape, error) {
	s := i.shapes.Of(tensor)
	if s == nil {
		return network.Shape{}, fmt.Errorf("the shape of %q is not known: %s", tensor, i.shapes.Why(tensor))
	}
	if len(s) != 2 && len(s) != 4 {
		return network.Shape{}, fmt.Errorf("tensor %q has shape %v, want [N C] or [N C H W]", tensor, s)
	}
	if len(s) == 2 {
		s = append(s, 1, 1)
	}
	return network.Shape{int(s[1]), int(s[2]), int(s[3])}, nil
}

// window reads what convolutions and poolings have in common, and checks that it yields the shape that
// ONNX says.
func (i *importer) window(n *onnx.NodeProto, kernel []int64) (w network.Window, err error) {
	in, err := i.of(n.In(0))
	if err != nil {
		return w, err
	}
	out, err := i.of(n.GetOutput()[0])
	if err != nil {
		return w, err
	}
	if len(kernel) != 2 || slices.ContainsFunc(n.Ints("dilations"), func(d int64) bool { return d != 1 }) {
		return w, errors.New("its window is not 2-dimensional or is dilated, which cannot be trained here")
	}
	w.Kernel, w.Stride = [2]int{int(kernel[0]), int(kernel[1])}, [2]int{1, 1}
	if s := n.Ints("strides"); len(s) == 2 {
		w.Stride = [2]int{int(s[0]), int(s[1])}
	}
	if p := n.Ints("pads"); len(p) == 4 {
		w.Pads = [4]int{int(p[0]), int(p[1]), int(p[2]), int(p[3])}
	}
	if pad := string(n.Attr("auto_pad").GetS()); pad == "SAME_UPPER" || pad == "SAME_LOWER" {
		for axis := range 2 {
			padSame(&w, axis, in[axis+1], out[axis+1], pad == "SAME_LOWER")
		}
	}
	for axis := range 2 {
		if got := (in[axis+1]+w.Pads[axis]+w.Pads[axis+2]-w.Kernel[axis])/w.Stride[axis] + 1; got != out[axis+1] {
			return w, fmt.Errorf("its window rounds extents up (ceil_mode), from %v to %v, which cannot be trained here", in, out)
		}
	}
	return w, nil
}

// padSame spells out the padding of auto_pad.
func padSame(w *network.Window, axis, in, out int, lower bool) {
	total := max((out-1)*w.Stride[axis]+w.Kernel[axis]-in, 0)
	before := total / 2
	if lower {
		before = total - before
	}
	w.Pads[axis], w.Pads[axis+2] = before, total-before
}

func (i *importer) conv(n *onnx.NodeProto) error {
	w, err := i.floats(n, 1)
	if err != nil {
		return err
	}
	dims := i.g.Constant(n.In(1)).GetDims()
	if len(dims) != 4 {
		return fmt.Errorf("its weights have shape %v, want [O C H W]", dims)
	}
	op := network.Conv{Out: int(dims[0]), Groups: int(n.Int("group", 1))}
	if op.Window, err = i.window(n, dims[2:]); err != nil {
		return err
	}
	values := map[network.Role][]float32{network.Weight: w}
	if n.In(2) != "" {
		op.Bias = true
		if values[network.Bias], err = i.floats(n, 2); err != nil {
			return err
		}
	}
	i.add(n, op, values, n.In(0))
	return nil
}

// dense imports x·W + b; W becomes [outputs, inputs].
func (i *importer) dense(n *onnx.NodeProto) error {
	w, err := i.floats(n, 1)
	if err != nil {
		return err
	}
	dims, x := i.g.Constant(n.In(1)).GetDims(), i.shapes.Of(n.In(0))
	if len(dims) != 2 || len(x) != 2 || n.Int("transA", 0) != 0 {
		return fmt.Errorf("it multiplies %v with %v, want [N C] with a constant matrix", x, dims)
	}
	outputs, inputs := int(dims[0]), int(dims[1])
	if n.GetOpType() == "MatMul" || n.Int("transB", 0) == 0 {
		outputs, inputs = inputs, outputs
		w = transposed(w, inputs, outputs)
	}
	factor := func(name string) float32 {
		if a := n.Attr(name); a != nil {
			return a.GetF()
		}
		return 1
	}
	values := map[network.Role][]float32{network.Weight: times(w, factor("alpha"))}
	if n.GetOpType() == "Gemm" && n.In(2) != "" {
		b, err := i.floats(n, 2)
		if err != nil {
			return err
		}
		if len(b) == 1 {
			b = slices.Repeat(b, outputs)
		}
		values[network.Bias] = times(b, factor("beta"))
	}
	i.add(n, network.Dense{Out: outputs, Bias: values[network.Bias] != nil}, values, n.In(0))
	return nil
}

func transposed(w []float32, rows, columns int) []float32 {
	t := make([]float32, len(w))
	for r := range rows {
		for c := range columns {
			t[c*rows+r] = w[r*columns+c]
		}
	}
	return t
}

func times(x []float32, f float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = v * f
	}
	return y
}

func (i *importer) batchNorm(n *onnx.NodeProto) error {
	eps := float32(1e-5)
	if a := n.Attr("epsilon"); a != nil {
		eps = a.GetF()
	}
	if n.Int("training_mode", 0) != 0 {
		return errors.New("it is in training mode: export the network in evaluation mode")
	}
	if eps == 0 {
		eps = math.SmallestNonzeroFloat32 // network takes 0 for the default
	}
	values := map[network.Role][]float32{}
	for k, role := range []network.Role{network.Gain, network.Shift, network.RunningMean, network.RunningVar} {
		v, err := i.floats(n, k+1)
		if err != nil {
			return err
		}
		values[role] = v
	}
	i.add(n, network.BatchNorm{Eps: float64(eps)}, values, n.In(0))
	return nil
}

func (i *importer) clip(n *onnx.NodeProto) error {
	low, err := i.floats(n, 1)
	if err != nil || len(low) != 1 || low[0] != 0 {
		return errors.New("it does not clip at 0 from below, as ReLU6 does")
	}
	op := network.ReLU{}
	if n.In(2) != "" {
		high, err := i.floats(n, 2)
		if err != nil || len(high) != 1 || !(high[0] > 0) {
			return errors.New("its upper bound is not a positive constant, as ReLU6 has")
		}
		if !math.IsInf(float64(high[0]), 0) && high[0] != math.MaxFloat32 {
			op.Top = float64(high[0])
		}
	}
	i.add(n, op, nil, n.In(0))
	return nil
}

func (i *importer) pool(n *onnx.NodeProto) error {
	w, err := i.window(n, n.Ints("kernel_shape"))
	if err != nil {
		return err
	}
	if n.GetOpType() == "MaxPool" {
		i.add(n, network.MaxPool{Window: w}, nil, n.In(0))
	} else {
		i.add(n, network.AvgPool{Window: w, CountPads: n.Int("count_include_pad", 0) != 0}, nil, n.In(0))
	}
	return nil
}

// mean imports an average over height and width, whether it keeps these axes or not.
func (i *importer) mean(n *onnx.NodeProto) error {
	x := i.shapes.Of(n.In(0))
	if n.GetOpType() == "ReduceMean" {
		axes := slices.Clone(n.Ints("axes"))
		if t := i.g.Constant(n.In(1)); t != nil {
			v, err := t.Ints()
			if err != nil {
				return err
			}
			axes = slices.Clone(v)
		}
		for k := range axes {
			if axes[k] < 0 {
				axes[k] += int64(len(x))
			}
		}
		slices.Sort(axes)
		if len(x) != 4 || !slices.Equal(axes, []int64{2, 3}) {
			return fmt.Errorf("it averages %v over axes %v, want height and width", x, axes)
		}
	}
	i.add(n, network.GlobalAvgPool{}, nil, n.In(0))
	return nil
}

// flatten imports what gives a tensor another shape but leaves its values in their order.
func (i *importer) flatten(n *onnx.NodeProto) error {
	in, err := i.of(n.In(0))
	if err != nil {
		return err
	}
	out, err := i.of(n.GetOutput()[0])
	if err != nil {
		return err
	}
	x, y := i.shapes.Of(n.In(0)), i.shapes.Of(n.GetOutput()[0])
	switch {
	case x[0] != y[0]:
		return fmt.Errorf("it turns %v into %v: only axes of one image can be flattened", x, y)
	case in == out:
		i.is[n.GetOutput()[0]] = i.is[n.In(0)]
	case out == network.Shape{in.Size(), 1, 1}:
		i.add(n, network.Flatten{}, nil, n.In(0))
	default:
		return fmt.Errorf("it turns %v into %v, want a vector an image", x, y)
	}
	return nil
}

// pointwise imports the sum of two tensors, or arithmetic with a constant a channel.
func (i *importer) pointwise(n *onnx.NodeProto) error {
	op, x, c := n.GetOpType(), n.In(0), n.In(1)
	if i.g.Constant(x) != nil && (op == "Add" || op == "Mul") {
		x, c = c, x
	}
	shape := i.shapes.Of(x)
	if i.g.Constant(c) == nil {
		if op != "Add" || !slices.Equal(shape, i.shapes.Of(c)) || shape == nil {
			return fmt.Errorf("it combines tensors of shapes %v and %v; only sums of two of one shape, and constants a channel, can be trained here",
				shape, i.shapes.Of(c))
		}
		i.add(n, network.Add{}, nil, x, c)
		return nil
	}
	v, err := i.vector(c, shape)
	if err != nil {
		return err
	}
	switch op {
	case "Div":
		v = reciprocal(v)
	case "Sub":
		v = times(v, -1)
	}
	switch {
	case op == "Add" || op == "Sub":
		i.shift(n, x, v)
	case slices.ContainsFunc(v, func(s float32) bool { return !(s >= 0) }):
		i.constant(n, x, v, make([]float32, len(v)))
	default:
		i.add(n, network.Modulation{}, map[network.Role][]float32{network.Scale: v}, x)
	}
	return nil
}

func reciprocal(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = 1 / v
	}
	return y
}

// vector reads a constant as one number a channel of a tensor of that shape.
func (i *importer) vector(constant string, shape graph.Shape) ([]float32, error) {
	t := i.g.Constant(constant)
	v, err := t.Floats()
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("constant %q of shape %v is not one number a channel of %v", constant, t.GetDims(), shape)
	if len(shape) < 2 || len(t.GetDims()) > len(shape) || len(v) == 0 {
		return nil, err
	}
	for k, extent := range t.GetDims() {
		if axis := len(shape) - len(t.GetDims()) + k; extent != 1 && (axis != 1 || extent != shape[1]) {
			return nil, err
		}
	}
	if len(v) == 1 {
		v = slices.Repeat(v, int(shape[1]))
	}
	return v, nil
}

// shift adds a constant to the bias of the layer before, or as a norm that stays as it is.
func (i *importer) shift(n *onnx.NodeProto, x string, v []float32) {
	name := i.is[x]
	if at, ok := i.index[name]; ok && i.readers[x] == 1 {
		node := &i.nodes[at]
		switch op := node.Op.(type) {
		case network.Dense:
			if !op.Bias {
				op.Bias = true
				node.Op, i.values[name][network.Bias], i.is[n.GetOutput()[0]] = op, v, name
				return
			}
		case network.Conv:
			if !op.Bias {
				op.Bias = true
				node.Op, i.values[name][network.Bias], i.is[n.GetOutput()[0]] = op, v, name
				return
			}
		}
	}
	i.constant(n, x, slices.Repeat([]float32{1}, len(v)), v)
}

// constant imports scale·x + shift as a norm whose statistics and parameters stay as they are.
func (i *importer) constant(n *onnx.NodeProto, x string, scale, shift []float32) {
	const eps = 0x1p-20 // of which 1 - eps is exact
	node := i.add(n, network.BatchNorm{Eps: eps}, map[network.Role][]float32{
		network.Gain: scale, network.Shift: shift, network.RunningMean: make([]float32, len(scale)),
		network.RunningVar: slices.Repeat([]float32{1 - eps}, len(scale)),
	}, x)
	node.Frozen = true
}
