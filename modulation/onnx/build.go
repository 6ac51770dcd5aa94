package onnx

import (
	"encoding/binary"
	"math"
)

// NewModel makes a model of a graph in the given version of the default operator set.
func NewModel(opset int64, g *GraphProto) *ModelProto {
	const irVersion = 8 // what operator sets up to 18 came with; later ones do not need more
	return &ModelProto{
		IrVersion:    new(int64(irVersion)),
		OpsetImport:  []*OperatorSetIdProto{{Domain: new(""), Version: &opset}},
		ProducerName: new("facet"),
		Graph:        g,
	}
}

// NewNode makes a node of the default domain, named after its first output.
func NewNode(op string, inputs, outputs []string, attributes ...*AttributeProto) *NodeProto {
	return &NodeProto{OpType: &op, Name: new(op + "/" + outputs[0]), Input: inputs, Output: outputs, Attribute: attributes}
}

// NewInt makes an attribute of one integer.
func NewInt(name string, v int64) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_INT.Enum(), I: &v}
}

// NewIntList makes an attribute of several integers.
func NewIntList(name string, v ...int64) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_INTS.Enum(), Ints: v}
}

// NewFloat makes an attribute of one number.
func NewFloat(name string, v float32) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_FLOAT.Enum(), F: &v}
}

// NewTensor makes an attribute of one tensor.
func NewTensor(name string, t *TensorProto) *AttributeProto {
	return &AttributeProto{Name: &name, Type: AttributeProto_TENSOR.Enum(), T: t}
}

// NewImages declares a float32 value whose first extent is the batch, symbolic, and whose others are as
// given; -1 leaves one open.
func NewImages(name string, extents ...int64) *ValueInfoProto {
	dims := []*TensorShapeProto_Dimension{{Value: &TensorShapeProto_Dimension_DimParam{DimParam: "n"}}}
	for _, e := range extents {
		d := &TensorShapeProto_Dimension{}
		if e >= 0 {
			d.Value = &TensorShapeProto_Dimension_DimValue{DimValue: e}
		}
		dims = append(dims, d)
	}
	t := &TypeProto_Tensor{ElemType: new(int32(TensorProto_FLOAT)), Shape: &TensorShapeProto{Dim: dims}}
	return &ValueInfoProto{Name: &name, Type: &TypeProto{Value: &TypeProto_TensorType{TensorType: t}}}
}

// NewFloats makes a float32 tensor; values are row-major and as many as dims ask for.
func NewFloats(name string, dims []int64, values []float32) *TensorProto {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return newTensor(name, TensorProto_FLOAT, dims, raw)
}

// NewInts makes an int64 tensor.
func NewInts(name string, dims []int64, values []int64) *TensorProto {
	raw := make([]byte, 0, 8*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return newTensor(name, TensorProto_INT64, dims, raw)
}

func newTensor(name string, t TensorProto_DataType, dims []int64, raw []byte) *TensorProto {
	return &TensorProto{Name: &name, DataType: new(int32(t)), Dims: dims, RawData: raw}
}
