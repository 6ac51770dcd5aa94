package graph

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/modulation/onnx"
)

// run infers the outputs y0, y1… of one node whose inputs are x0, x1…; constants are given as int64
// tensors in place of a shape.
func run(t *testing.T, opset int64, op string, outputs int, in []any, attributes ...*onnx.AttributeProto) []Shape {
	t.Helper()
	g, inputs := &onnx.GraphProto{}, map[string]Shape{}
	n := &onnx.NodeProto{OpType: &op, Attribute: attributes}
	for i, v := range in {
		name := fmt.Sprintf("x%d", i)
		switch v := v.(type) {
		case Shape:
			g.Input = append(g.Input, &onnx.ValueInfoProto{Name: &name})
			inputs[name] = v
		case []int64:
			g.Initializer = append(g.Initializer, onnx.NewInts(name, []int64{int64(len(v))}, v))
		case nil:
			name = ""
		}
		n.Input = append(n.Input, name)
	}
	for i := range outputs {
		n.Output = append(n.Output, fmt.Sprintf("y%d", i))
	}
	g.Node = []*onnx.NodeProto{n}
	s := mustNew(t, onnx.NewModel(opset, g)).Infer(inputs)
	shapes := make([]Shape, outputs)
	for i := range shapes {
		shapes[i] = s.Of(fmt.Sprintf("y%d", i))
	}
	return shapes
}

func TestShapes(t *testing.T) {
	ints, integer := onnx.NewIntList, onnx.NewInt
	same := func(s string) *onnx.AttributeProto {
		return &onnx.AttributeProto{Name: new("auto_pad"), Type: onnx.AttributeProto_STRING.Enum(), S: []byte(s)}
	}
	image := Shape{2, 3, 9, 8}
	for _, c := range []struct {
		op   string
		in   []any
		with []*onnx.AttributeProto
		want Shape // nil: not known
	}{
		{"Conv", []any{image, Shape{4, 3, 3, 3}}, nil, Shape{2, 4, 7, 6}},
		{"Conv", []any{image, Shape{4, 3, 3, 3}}, list(ints("pads", 1, 0, 1, 2), ints("strides", 2, 2)), Shape{2, 4, 5, 4}},
		{"Conv", []any{image, Shape{4, 3, 3, 3}}, list(ints("dilations", 2, 3)), Shape{2, 4, 5, 2}},
		{"Conv", []any{image, Shape{4, 3, 3, 3}}, list(same("SAME_UPPER"), ints("strides", 2, 2)), Shape{2, 4, 5, 4}},
		{"Conv", []any{image, Shape{4, 3, 3, 3}}, list(same("VALID")), Shape{2, 4, 7, 6}},
		{"Conv", []any{image, Shape{3, 1, 3, 3}}, list(integer("group", 3)), Shape{2, 3, 7, 6}},
		{"Conv", []any{image, Shape{4, 2, 3, 3}}, nil, nil},
		{"Conv", []any{image, Shape{4, 3, 3, 3}}, list(ints("strides", 0, 1)), nil},
		{"Conv", []any{image, Shape{4, 3, 11, 3}}, nil, nil},
		{"Conv", []any{image, nil}, nil, nil},
		{"MaxPool", []any{image}, list(ints("kernel_shape", 2, 2), ints("strides", 2, 2)), Shape{2, 3, 4, 4}},
		{"MaxPool", []any{image}, list(ints("kernel_shape", 2, 2), ints("strides", 2, 2), integer("ceil_mode", 1)), Shape{2, 3, 5, 4}},
		{"MaxPool", []any{image}, list(ints("kernel_shape", 2, 2), ints("strides", 3, 3), ints("pads", 0, 0, 1, 1), integer("ceil_mode", 1)), nil},
		{"AveragePool", []any{image}, list(ints("kernel_shape", 3, 3), ints("pads", 1, 1, 1, 1)), Shape{2, 3, 9, 8}},
		{"GlobalAveragePool", []any{image}, nil, Shape{2, 3, 1, 1}},
		{"Gemm", []any{Shape{2, 5}, Shape{7, 5}}, list(integer("transB", 1)), Shape{2, 7}},
		{"Gemm", []any{Shape{5, 2}, Shape{5, 7}}, list(integer("transA", 1)), Shape{2, 7}},
		{"Gemm", []any{Shape{2, 5}, Shape{7, 5}}, nil, nil},
		{"MatMul", []any{Shape{4, 1, 2, 5}, Shape{3, 5, 7}}, nil, Shape{4, 3, 2, 7}},
		{"Add", []any{image, Shape{3, 1, 1}}, nil, image},
		{"Mul", []any{Shape{1, 4}, Shape{3, 1}}, nil, Shape{3, 4}},
		{"Add", []any{image, Shape{2}}, nil, nil},
		{"Relu", []any{image}, nil, image},
		{"Flatten", []any{image}, nil, Shape{2, 216}},
		{"Flatten", []any{image}, list(integer("axis", -1)), Shape{54, 8}},
		{"Reshape", []any{image, []int64{0, -1}}, nil, Shape{2, 216}},
		{"Reshape", []any{image, []int64{5, -1}}, nil, nil},
		{"Reshape", []any{image, []int64{-1, -1}}, nil, nil},
		{"Reshape", []any{image, Shape{2}}, nil, nil},
		{"Transpose", []any{image}, list(ints("perm", 0, 2, 3, 1)), Shape{2, 9, 8, 3}},
		{"Transpose", []any{image}, list(ints("perm", 0, 0, 0, 0)), nil},
		{"Transpose", []any{Shape{2, 3}}, nil, Shape{3, 2}},
		{"Squeeze", []any{Shape{2, 1, 3, 1}}, nil, Shape{2, 3}},
		{"Squeeze", []any{Shape{2, 1, 3, 1}, []int64{-1}}, nil, Shape{2, 1, 3}},
		{"Squeeze", []any{Shape{2, 1, 3, 1}, []int64{0}}, nil, nil},
		{"Unsqueeze", []any{Shape{2, 3}, []int64{3, 0}}, nil, Shape{1, 2, 3, 1}},
		{"Concat", []any{image, image}, list(integer("axis", 1)), Shape{2, 6, 9, 8}},
		{"Concat", []any{image, Shape{2, 3, 9, 7}}, list(integer("axis", 1)), nil},
		{"Expand", []any{Shape{3, 1}, []int64{2, 1, 6}}, nil, Shape{2, 3, 6}},
		{"ReduceMean", []any{image}, list(ints("axes", 2, 3), integer("keepdims", 0)), Shape{2, 3}},
		{"ReduceSum", []any{image, []int64{-1}}, nil, Shape{2, 3, 9, 1}},
		{"ReduceMax", []any{image}, list(integer("keepdims", 0)), Shape{}},
		{"ReduceL2", []any{image, Shape{1}}, nil, nil},
		{"Pad", []any{image, []int64{0, 0, 1, 1, 0, 0, 2, 0}}, nil, Shape{2, 3, 12, 9}},
		{"Slice", []any{image, []int64{1, -3}, []int64{9, 100}, []int64{2, 3}}, nil, Shape{2, 3, 8, 3}},
		{"Slice", []any{image, []int64{0}, []int64{1}, []int64{2}, []int64{2}}, nil, nil},
		{"Gather", []any{image, []int64{0, 1}}, list(integer("axis", 1)), Shape{2, 2, 9, 8}},
		{"Shape", []any{image}, nil, Shape{4}},
		{"Einsum", []any{image}, nil, nil},
	} {
		if got := run(t, 17, c.op, 1, c.in, c.with...)[0]; !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s of %v with %v: shape %v, want %v", c.op, c.in, c.with, got, c.want)
		}
	}
}

func list(a ...*onnx.AttributeProto) []*onnx.AttributeProto { return a }

func TestSplit(t *testing.T) {
	got := run(t, 17, "Split", 2, []any{Shape{2, 6}, []int64{4, 2}}, onnx.NewInt("axis", 1))
	if !slices.Equal(got[0], Shape{2, 4}) || !slices.Equal(got[1], Shape{2, 2}) {
		t.Errorf("parts of %v, want [2 4] and [2 2]", got)
	}
	got = run(t, 17, "Split", 3, []any{Shape{2, 6}}, onnx.NewInt("axis", 1))
	if !slices.Equal(got[2], Shape{2, 2}) {
		t.Errorf("third of three equal parts is %v, want [2 2]", got[2])
	}
}

// What PyTorch writes for x.view(x.size(0), -1): the target shape is computed from the input's.
func TestShapesThatAreComputed(t *testing.T) {
	m := onnx.NewModel(17, &onnx.GraphProto{
		Node: []*onnx.NodeProto{
			node("Shape", "x", "s"),
			node("Gather", "s zero", "n"),
			node("Unsqueeze", "n axis", "n1"),
			node("Concat", "n1 rest", "to", onnx.NewInt("axis", 0)),
			node("Reshape", "x to", "y"),
			node("Shape", "x", "hw", onnx.NewInt("start", 2)),
			node("Slice", "s one two", "c"),
			node("Expand", "one hw", "z"),
			node("Expand", "one c", "zc"),
		},
		Initializer: []*onnx.TensorProto{onnx.NewInts("zero", nil, []int64{0}), onnx.NewInts("axis", []int64{1}, []int64{0}),
			onnx.NewInts("rest", []int64{1}, []int64{-1}), onnx.NewInts("one", []int64{1}, []int64{1}), onnx.NewInts("two", []int64{1}, []int64{2})},
		Input: []*onnx.ValueInfoProto{onnx.NewImages("x", 3, -1, -1)},
	})
	s := mustNew(t, m).Infer(map[string]Shape{"x": {2, 3, 4, 5}})
	for name, want := range map[string]Shape{"y": {2, 60}, "z": {4, 5}, "zc": {3}} {
		if got := s.Of(name); !slices.Equal(got, want) {
			t.Errorf("%s has shape %v, want %v (%s)", name, got, want, s.Why(name))
		}
	}
}

// Where there is no rule, a complete declaration counts; else the first cause is passed on.
func TestUnknownShapes(t *testing.T) {
	traced := onnx.NewImages("e", 7) // with a batch of one image
	traced.GetType().GetTensorType().GetShape().GetDim()[0].Value = &onnx.TensorShapeProto_Dimension_DimValue{DimValue: 1}
	m := onnx.NewModel(17, &onnx.GraphProto{
		Node:      []*onnx.NodeProto{node("Einsum", "x", "e"), node("Relu", "e", "f"), node("Einsum", "x", "h"), node("Relu", "h", "i")},
		Input:     []*onnx.ValueInfoProto{onnx.NewImages("x", 3)},
		ValueInfo: []*onnx.ValueInfoProto{onnx.NewImages("h", 7), traced},
	})
	s := mustNew(t, m).Infer(map[string]Shape{"x": {2, 3}})
	if got := s.Of("i"); !slices.Equal(got, Shape{2, 7}) {
		t.Errorf("declared shape %v, want [2 7]", got)
	}
	if why := s.Why("f"); s.Of("f") != nil || !strings.Contains(why, `"Einsum/e"`) {
		t.Errorf("shape %v, because %q; want none, because of Einsum", s.Of("f"), why)
	}
}

func TestCost(t *testing.T) {
	g := mustNew(t, twoTasks())
	c := g.Cost([]string{"a", "b_out"}, g.Infer(map[string]Shape{"x": {1, 3, 4, 4}}))
	const conv = 2 * 4 * 4 * 3 * 3 * 3 // channels × places × what each sums over
	want := Costs{
		All: Cost{54 + 2 + 2 + 2, conv, ""}, Shared: Cost{54 + 2, conv, ""},
		Each:      []Cost{{54 + 2 + 2, conv, ""}, {54 + 2 + 2, conv, ""}},
		Exclusive: []Cost{{2, 0, ""}, {2, 0, ""}},
		Unused:    5,
	}
	if fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("costs %+v\nwant  %+v", c, want)
	}
}

func TestMACs(t *testing.T) {
	for _, c := range []struct {
		op   string
		in   []any
		with []*onnx.AttributeProto
		want int64
	}{
		{"Conv", []any{Shape{1, 4, 5, 5}, Shape{6, 2, 3, 3}}, list(onnx.NewInt("group", 2)), 6 * 3 * 3 * 2 * 9},
		{"ConvTranspose", []any{Shape{1, 4, 5, 5}, Shape{4, 6, 2, 2}}, nil, 4 * 25 * 6 * 4},
		{"Gemm", []any{Shape{5, 1}, Shape{5, 7}}, list(onnx.NewInt("transA", 1)), 35},
		{"MatMul", []any{Shape{1, 5}, Shape{5, 7}}, nil, 35},
		{"Relu", []any{Shape{1, 5}}, nil, 0},
		{"Resize", []any{Shape{1, 5}}, nil, 0},
		{"Einsum", []any{Shape{1, 5}}, nil, -1},
		{"Conv", []any{Shape{1, 4, 5, 5}, Shape{6, 4, 9, 9}}, nil, -1},
	} {
		t.Run(c.op, func(t *testing.T) {
			n := &onnx.NodeProto{OpType: &c.op, Output: []string{"y"}, Attribute: c.with}
			g, in := &onnx.GraphProto{Node: []*onnx.NodeProto{n}}, map[string]Shape{}
			for i, s := range c.in {
				name := fmt.Sprintf("x%d", i)
				n.Input = append(n.Input, name)
				g.Input = append(g.Input, &onnx.ValueInfoProto{Name: &name})
				in[name] = s.(Shape)
			}
			graph := mustNew(t, onnx.NewModel(17, g))
			got := graph.Cost([]string{"y"}, graph.Infer(in)).All
			if (got.Unknown != "") != (c.want < 0) || c.want >= 0 && got.MACs != c.want {
				t.Errorf("%+v, want %d MACs", got, c.want)
			}
		})
	}
}
