package exchange

import (
	"fmt"

	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/network"
)

// step is one node of the network, for the trunk or one task, while it is emitted.
type step struct {
	*exporter
	node network.Node
	task int
	in   []string // ONNX tensors
	out  string
}

// shortest is the length below which Normalize divides by this instead.
const shortest = 1e-12

func (s *step) emit() error {
	switch op := s.node.Op.(type) {
	case network.Conv:
		s.conv(op)
	case network.Dense:
		s.dense(op)
	case network.BatchNorm:
		s.same("BatchNormalization", []string{s.in[0], s.param(network.Gain), s.param(network.Shift),
			s.param(network.RunningMean), s.param(network.RunningVar)}, onnx.NewFloat("epsilon", float32(op.Epsilon())))
	case network.ReLU:
		s.relu(op)
	case network.MaxPool:
		s.exporter.emit("MaxPool", []string{s.spatial()}, s.out, window(op.Window)...)
	case network.AvgPool:
		pads := int64(0)
		if op.CountPads {
			pads = 1
		}
		s.exporter.emit("AveragePool", []string{s.spatial()}, s.out, append(window(op.Window), onnx.NewInt("count_include_pad", pads))...)
	case network.GlobalAvgPool:
		s.exporter.emit("GlobalAveragePool", []string{s.spatial()}, s.out)
	case network.Add:
		s.add()
	case network.Flatten:
		s.exporter.emit("Flatten", []string{s.in[0]}, s.out, onnx.NewInt("axis", 1))
		s.flat[s.out] = true
	case network.Modulation:
		s.modulation()
	case network.Normalize:
		s.normalize()
	default:
		return fmt.Errorf("operation %T is unknown", s.node.Op)
	}
	return nil
}

// same emits an operator whose output is shaped like its first input.
func (s *step) same(op string, in []string, attributes ...*onnx.AttributeProto) {
	s.exporter.emit(op, in, s.out, attributes...)
	s.flat[s.out] = s.flat[in[0]]
}

// param stores the task's parameter of that role.
func (s *step) param(role network.Role) string {
	p := s.net.Of(s.params, s.node.Name, role, s.task)
	return s.floats(p.Name, p.Data, p.Dims...)
}

func (s *step) conv(op network.Conv) {
	in := []string{s.spatial(), s.param(network.Weight)}
	if op.Bias {
		in = append(in, s.param(network.Bias))
	}
	s.exporter.emit("Conv", in, s.out, append(window(op.Window), onnx.NewInt("group", int64(max(op.Groups, 1))))...)
}

func (s *step) dense(op network.Dense) {
	in := []string{s.vector(0), s.param(network.Weight)}
	if op.Bias {
		in = append(in, s.param(network.Bias))
	}
	s.exporter.emit("Gemm", in, s.out, onnx.NewInt("transB", 1))
	s.flat[s.out] = true
}

func (s *step) relu(op network.ReLU) {
	if op.Top == 0 {
		s.same("Relu", s.in)
		return
	}
	top := float32(op.Top)
	s.same("Clip", []string{s.in[0], s.floats("zero", []float32{0}), s.floats(fmt.Sprintf("top/%g", top), []float32{top})})
}

func (s *step) add() {
	in := s.in
	if s.flat[in[0]] != s.flat[in[1]] {
		in = []string{s.vector(0), s.vector(1)}
	}
	s.same("Add", in)
}

// modulation multiplies with the rectified scales, one a channel.
func (s *step) modulation() {
	p := s.net.Of(s.params, s.node.Name, network.Scale, s.task)
	dims := []int{1, len(p.Data), 1, 1}
	if s.flat[s.in[0]] {
		dims = dims[:2]
	}
	values := make([]float32, len(p.Data))
	for i, v := range p.Data {
		values[i] = max(v, 0)
	}
	s.same("Mul", []string{s.in[0], s.floats(p.Name, values, dims...)})
}

// normalize writes the division by the Euclidean length out: LpNormalization has no lower bound.
func (s *step) normalize() {
	x := s.vector(0)
	norm, bound := s.out+"/length", s.out+"/divisor"
	s.exporter.emit("ReduceL2", []string{x}, norm, onnx.NewIntList("axes", 1), onnx.NewInt("keepdims", 1))
	s.exporter.emit("Clip", []string{norm, s.floats("shortest", []float32{shortest})}, bound)
	s.exporter.emit("Div", []string{x, bound}, s.out)
	s.flat[s.out] = true
}

// vector is input i as [N, C·H·W].
func (s *step) vector(i int) string {
	if s.flat[s.in[i]] {
		return s.in[i]
	}
	name := fmt.Sprintf("%s/vector%d", s.out, i)
	s.exporter.emit("Flatten", []string{s.in[i]}, name, onnx.NewInt("axis", 1))
	s.flat[name] = true
	return name
}

// spatial is the input as [N, C, H, W].
func (s *step) spatial() string {
	if !s.flat[s.in[0]] {
		return s.in[0]
	}
	name := s.out + "/spatial"
	s.exporter.emit("Reshape", []string{s.in[0], s.ints("shape/spatial", 0, -1, 1, 1)}, name)
	return name
}

func window(w network.Window) []*onnx.AttributeProto {
	stride := w.Strides()
	return []*onnx.AttributeProto{
		onnx.NewIntList("kernel_shape", wide(w.Kernel[:])...),
		onnx.NewIntList("strides", wide(stride[:])...),
		onnx.NewIntList("pads", wide(w.Pads[:])...),
	}
}
