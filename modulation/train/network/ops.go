package network

import (
	"errors"
	"fmt"
)

// Window is how a convolution or pooling moves: height first.
type Window struct {
	Kernel [2]int
	Stride [2]int // the zero value means 1, 1
	Pads   [4]int // top, left, bottom, right, as in ONNX
}

// Square is a window of k×k with one stride and the same padding on all sides.
func Square(k, stride, pad int) Window {
	return Window{[2]int{k, k}, [2]int{stride, stride}, [4]int{pad, pad, pad, pad}}
}

// Strides are the strides with their default filled in.
func (w Window) Strides() [2]int {
	if w.Stride == [2]int{} {
		return [2]int{1, 1}
	}
	return w.Stride
}

// shape is the output's height and width, rounded down.
func (w Window) shape(channels int, in Shape) (Shape, error) {
	out := Shape{channels}
	stride := w.Strides()
	for i := range 2 {
		before, after := w.Pads[i], w.Pads[i+2]
		if w.Kernel[i] < 1 || stride[i] < 1 || before < 0 || after < 0 {
			return Shape{}, fmt.Errorf("kernel %v, stride %v, pads %v", w.Kernel, stride, w.Pads)
		}
		span := in[i+1] + before + after - w.Kernel[i]
		if span < 0 {
			return Shape{}, fmt.Errorf("kernel %v does not fit into %v", w.Kernel, in)
		}
		out[i+1] = span/stride[i] + 1
	}
	return out, nil
}

var errArity = errors.New("wrong number of inputs")

// same is the shape of an operation's only input.
func same(in []Shape) (Shape, error) {
	if len(in) != 1 {
		return Shape{}, errArity
	}
	return in[0], nil
}

// Conv is a convolution with weights [Out, C/Groups, h, w] and, on request, a bias [Out].
type Conv struct {
	Window
	Out    int
	Groups int // 0 means 1; C groups with Out = C is depthwise
	Bias   bool
}

func (c Conv) groups() int { return max(c.Groups, 1) }

// Shape implements Op.
func (c Conv) Shape(in []Shape) (Shape, error) {
	x, err := same(in)
	if err != nil {
		return Shape{}, err
	}
	if g := c.groups(); c.Out < 1 || x[0]%g != 0 || c.Out%g != 0 {
		return Shape{}, fmt.Errorf("%d groups of %d channels to %d", g, x[0], c.Out)
	}
	return c.shape(c.Out, x)
}

// Params implements Op.
func (c Conv) Params(in []Shape) []Spec {
	inputs := in[0][0] / c.groups()
	fan := inputs * c.Kernel[0] * c.Kernel[1]
	specs := []Spec{{Role: Weight, Dims: []int{c.Out, inputs, c.Kernel[0], c.Kernel[1]}, Init: Init{Std: heStd(fan)}}}
	if c.Bias {
		specs = append(specs, Spec{Role: Bias, Dims: []int{c.Out}})
	}
	return specs
}

// Dense multiplies the flattened input (channels outermost) with weights [Out, C·H·W] and adds, on
// request, a bias [Out].
type Dense struct {
	Out  int
	Bias bool
}

// Shape implements Op.
func (d Dense) Shape(in []Shape) (Shape, error) {
	if len(in) != 1 {
		return Shape{}, errArity
	}
	if d.Out < 1 {
		return Shape{}, fmt.Errorf("%d outputs", d.Out)
	}
	return Shape{d.Out, 1, 1}, nil
}

// Params implements Op.
func (d Dense) Params(in []Shape) []Spec {
	fan := in[0].Size()
	specs := []Spec{{Role: Weight, Dims: []int{d.Out, fan}, Init: Init{Std: lecunStd(fan)}}}
	if d.Bias {
		specs = append(specs, Spec{Role: Bias, Dims: []int{d.Out}})
	}
	return specs
}

// BatchNorm normalises each channel: by the batch's statistics in training, by running ones in
// inference. Gain and shift are its parameters, running mean and variance its state.
type BatchNorm struct {
	Eps      float64 // 0 means 1e-5
	Momentum float64 // weight of the newest batch in the running statistics; 0 means 0.1
	// TaskStatistics keeps statistics for each task apart while gain and shift stay shared.
	TaskStatistics bool
}

// Epsilon is Eps with its default filled in.
func (b BatchNorm) Epsilon() float64 {
	if b.Eps == 0 {
		return 1e-5
	}
	return b.Eps
}

// Rate is Momentum with its default filled in.
func (b BatchNorm) Rate() float64 {
	if b.Momentum == 0 {
		return 0.1
	}
	return b.Momentum
}

// Shape implements Op.
func (b BatchNorm) Shape(in []Shape) (Shape, error) { return same(in) }

// Params implements Op.
func (b BatchNorm) Params(in []Shape) []Spec {
	c := []int{in[0][0]}
	return []Spec{
		{Role: Gain, Dims: c, Init: Init{Mean: 1}},
		{Role: Shift, Dims: c},
		{Role: RunningMean, Dims: c, PerTask: b.TaskStatistics},
		{Role: RunningVar, Dims: c, PerTask: b.TaskStatistics, Init: Init{Mean: 1}},
	}
}

// ReLU is max(0, x), or min(Top, max(0, x)) if Top is not 0: ReLU6 has Top 6.
type ReLU struct{ Top float64 }

// Shape implements Op.
func (ReLU) Shape(in []Shape) (Shape, error) { return same(in) }

// Params implements Op.
func (ReLU) Params([]Shape) []Spec { return nil }

// MaxPool takes the maximum of each window; padding never wins.
type MaxPool struct{ Window }

// Shape implements Op.
func (p MaxPool) Shape(in []Shape) (Shape, error) { return p.pooled(in) }

// Params implements Op.
func (MaxPool) Params([]Shape) []Spec { return nil }

// AvgPool takes the mean of each window, of its part inside the image unless CountPads.
type AvgPool struct {
	Window
	CountPads bool
}

// Shape implements Op.
func (p AvgPool) Shape(in []Shape) (Shape, error) { return p.pooled(in) }

// Params implements Op.
func (AvgPool) Params([]Shape) []Spec { return nil }

// pooled is the output's shape of a pooling, whose every window must hold something.
func (w Window) pooled(in []Shape) (Shape, error) {
	x, err := same(in)
	if err != nil {
		return Shape{}, err
	}
	for i := range w.Pads {
		if w.Pads[i] >= w.Kernel[i%2] {
			return Shape{}, fmt.Errorf("pads %v are as large as kernel %v", w.Pads, w.Kernel)
		}
	}
	return w.shape(x[0], x)
}

// GlobalAvgPool takes the mean of each channel.
type GlobalAvgPool struct{}

// Shape implements Op.
func (GlobalAvgPool) Shape(in []Shape) (Shape, error) {
	x, err := same(in)
	return Shape{x[0], 1, 1}, err
}

// Params implements Op.
func (GlobalAvgPool) Params([]Shape) []Spec { return nil }

// Add adds two tensors of one shape.
type Add struct{}

// Shape implements Op.
func (Add) Shape(in []Shape) (Shape, error) {
	if len(in) != 2 {
		return Shape{}, errArity
	}
	if in[0] != in[1] {
		return Shape{}, fmt.Errorf("cannot add %v and %v", in[0], in[1])
	}
	return in[0], nil
}

// Params implements Op.
func (Add) Params([]Shape) []Spec { return nil }

// Flatten makes a vector of a tensor, channels outermost.
type Flatten struct{}

// Shape implements Op.
func (Flatten) Shape(in []Shape) (Shape, error) {
	x, err := same(in)
	return Shape{x.Size(), 1, 1}, err
}

// Params implements Op.
func (Flatten) Params([]Shape) []Spec { return nil }

// Modulation multiplies channel c with ReLU(s[c]): the paper's module when the node is PerTask, and
// Conditional Similarity Networks' masks when it stands on the embedding. Init is of s; its zero
// value means 1.
type Modulation struct{ Init Init }

// Shape implements Op.
func (Modulation) Shape(in []Shape) (Shape, error) { return same(in) }

// Params implements Op.
func (m Modulation) Params(in []Shape) []Spec {
	if m.Init == (Init{}) {
		m.Init.Mean = 1
	}
	return []Spec{{Role: Scale, Dims: []int{in[0][0]}, Init: m.Init}}
}

// Normalize divides a vector by its Euclidean length, or by 1e-12 if that is more.
type Normalize struct{}

// Shape implements Op.
func (Normalize) Shape(in []Shape) (Shape, error) {
	x, err := same(in)
	if err == nil && x.Size() != x[0] {
		err = fmt.Errorf("cannot normalise %v, want a vector", x)
	}
	return x, err
}

// Params implements Op.
func (Normalize) Params([]Shape) []Spec { return nil }
