package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// bits is the size of one element of each data type of the specification; strings have none.
var bits = map[int32]int{
	1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
	17: 8, 18: 8, 19: 8, 20: 8, // float8
	21: 4, 22: 4, 23: 4, // (u)int4, float4: two to a byte
	24: 8, // float8e8m0
}

// Elements is the number of elements that the tensor's shape asks for.
func (x *TensorProto) Elements() (int, error) {
	n := int64(1)
	for _, d := range x.GetDims() {
		if d < 0 {
			return 0, fmt.Errorf("tensor %q: shape %v has a negative extent", x.GetName(), x.GetDims())
		}
		if d > 0 && n > math.MaxInt32*16/d {
			return 0, fmt.Errorf("tensor %q: shape %v is too large", x.GetName(), x.GetDims())
		}
		n *= d
	}
	return int(n), nil
}

// Bytes is the tensor's content in the form of raw_data (little-endian, row-major), however the file
// stores it. The result may be the tensor's own memory and is not to be changed.
func (x *TensorProto) Bytes() ([]byte, error) {
	n, err := x.Elements()
	if err != nil {
		return nil, err
	}
	size, ok := bits[x.GetDataType()]
	if !ok {
		return nil, fmt.Errorf("tensor %q: data type %d has no bytes or is not known", x.GetName(), x.GetDataType())
	}
	b, err := x.stored()
	if err != nil {
		return nil, err
	}
	if want := (n*size + 7) / 8; len(b) != want {
		return nil, fmt.Errorf("tensor %q: %d bytes of data, but shape %v of type %d takes %d",
			x.GetName(), len(b), x.GetDims(), x.GetDataType(), want)
	}
	return b, nil
}

// stored converts whichever field holds the data, without regard to the shape.
func (x *TensorProto) stored() ([]byte, error) {
	var b []byte
	le := binary.LittleEndian
	switch DataTypeOf(x) {
	case TensorProto_FLOAT, TensorProto_COMPLEX64:
		for _, v := range x.GetFloatData() {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	case TensorProto_DOUBLE, TensorProto_COMPLEX128:
		for _, v := range x.GetDoubleData() {
			b = le.AppendUint64(b, math.Float64bits(v))
		}
	case TensorProto_INT64:
		for _, v := range x.GetInt64Data() {
			b = le.AppendUint64(b, uint64(v))
		}
	case TensorProto_UINT64:
		for _, v := range x.GetUint64Data() {
			b = le.AppendUint64(b, v)
		}
	case TensorProto_UINT32:
		for _, v := range x.GetUint64Data() {
			b = le.AppendUint32(b, uint32(v))
		}
	default: // everything narrower lies in int32_data; 4-bit types do so packed, two to a value
		b = x.narrow()
	}
	if len(x.GetRawData()) == 0 {
		return b, nil
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("tensor %q: holds its data twice, raw and typed", x.GetName())
	}
	return x.GetRawData(), nil
}

func (x *TensorProto) narrow() []byte {
	var b []byte
	for _, v := range x.GetInt32Data() {
		switch bits[x.GetDataType()] {
		case 32:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		case 16:
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		default:
			b = append(b, byte(v))
		}
	}
	return b
}

// DataTypeOf is the tensor's element type.
func DataTypeOf(x *TensorProto) TensorProto_DataType { return TensorProto_DataType(x.GetDataType()) }

// Floats are the values of a float32 tensor, row-major.
func (x *TensorProto) Floats() ([]float32, error) {
	if DataTypeOf(x) != TensorProto_FLOAT {
		return nil, fmt.Errorf("tensor %q: holds %v, want FLOAT", x.GetName(), DataTypeOf(x))
	}
	b, err := x.Bytes()
	if err != nil {
		return nil, err
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v, nil
}

// Ints are the values of an int64 or int32 tensor, row-major.
func (x *TensorProto) Ints() ([]int64, error) {
	t := DataTypeOf(x)
	if t != TensorProto_INT64 && t != TensorProto_INT32 {
		return nil, fmt.Errorf("tensor %q: holds %v, want INT64 or INT32", x.GetName(), t)
	}
	b, err := x.Bytes()
	if err != nil {
		return nil, err
	}
	if t == TensorProto_INT32 {
		v := make([]int64, len(b)/4)
		for i := range v {
			v[i] = int64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
		return v, nil
	}
	v := make([]int64, len(b)/8)
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return v, nil
}

var errExternal = errors.New("its data lie in another file, and Facet takes a model as one file: " +
	"save it again with onnx.save(model, path, save_as_external_data=False)")

// check refuses external data and data that do not fit the shape.
func (x *TensorProto) check() error {
	if x.GetDataLocation() == TensorProto_EXTERNAL || len(x.GetExternalData()) > 0 {
		return fmt.Errorf("tensor %q: %w", x.GetName(), errExternal)
	}
	n, err := x.Elements()
	if err != nil {
		return err
	}
	if DataTypeOf(x) == TensorProto_STRING {
		if len(x.GetStringData()) != n {
			return fmt.Errorf("tensor %q: %d strings, but shape %v takes %d", x.GetName(), len(x.GetStringData()), x.GetDims(), n)
		}
		return nil
	}
	_, err = x.Bytes()
	return err
}

// checkTensors checks the initialisers and attribute tensors of a graph and of the graphs within it.
// Recursion ends because scan has bounded the nesting.
func checkTensors(g *GraphProto) error {
	for _, t := range g.GetInitializer() {
		if err := t.check(); err != nil {
			return fmt.Errorf("initialiser: %w", err)
		}
	}
	if len(g.GetSparseInitializer()) > 0 {
		return errors.New("sparse initialisers are not supported: store them dense")
	}
	for _, n := range g.GetNode() {
		for _, a := range n.GetAttribute() {
			if err := a.check(); err != nil {
				return fmt.Errorf("node %q (%s), attribute %q: %w", n.GetName(), n.GetOpType(), a.GetName(), err)
			}
		}
	}
	return nil
}

func (x *AttributeProto) check() error {
	tensors, graphs := x.GetTensors(), x.GetGraphs()
	if x.GetT() != nil {
		tensors = append(tensors[:len(tensors):len(tensors)], x.GetT())
	}
	if x.GetG() != nil {
		graphs = append(graphs[:len(graphs):len(graphs)], x.GetG())
	}
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return err
		}
	}
	for _, g := range graphs {
		if err := checkTensors(g); err != nil {
			return err
		}
	}
	return nil
}
