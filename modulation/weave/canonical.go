package weave

import (
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// canonical is the model with attributes left out that say what their absence says: exporters differ in
// which defaults they spell out, and so would the digests of what they mean alike.
func canonical(m *onnx.ModelProto) *onnx.ModelProto {
	m = onnx.Shallow(m)
	m.Graph = onnx.Shallow(m.GetGraph())
	nodes := make([]*onnx.NodeProto, len(m.Graph.GetNode()))
	for i, n := range m.Graph.GetNode() {
		nodes[i] = onnx.Shallow(n)
		nodes[i].Attribute = slices.DeleteFunc(slices.Clone(n.GetAttribute()), func(a *onnx.AttributeProto) bool { return implied(n, a) })
	}
	m.Graph.Node = nodes
	return m
}

// implied reports whether an attribute has its default, or means nothing for inference.
func implied(n *onnx.NodeProto, a *onnx.AttributeProto) bool {
	all := func(v int64) bool {
		return a.GetType() == onnx.AttributeProto_INTS && !slices.ContainsFunc(a.GetInts(), func(x int64) bool { return x != v })
	}
	switch a.GetName() {
	case "dilations", "strides":
		return is(n, "Conv", "MaxPool", "AveragePool") && all(1)
	case "pads":
		return is(n, "Conv", "MaxPool", "AveragePool") && all(0)
	case "group":
		return is(n, "Conv") && a.GetI() == 1
	case "kernel_shape":
		return is(n, "Conv") // the weights say it
	case "auto_pad":
		return is(n, "Conv", "MaxPool", "AveragePool") && string(a.GetS()) == "NOTSET"
	case "ceil_mode", "storage_order", "count_include_pad":
		return is(n, "MaxPool", "AveragePool") && a.GetI() == 0
	case "alpha", "beta":
		return is(n, "Gemm") && a.GetF() == 1
	case "transA", "transB":
		return is(n, "Gemm") && a.GetI() == 0
	case "training_mode":
		return is(n, "BatchNormalization") && a.GetI() == 0
	case "momentum":
		return is(n, "BatchNormalization")
	}
	return false
}
