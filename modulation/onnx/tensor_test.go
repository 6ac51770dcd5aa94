package onnx

import (
	"bytes"
	"testing"
)

// Every way in which the specification lets a file store a tensor gives the same bytes.
func TestBytesDoesNotDependOnStorage(t *testing.T) {
	for _, c := range []struct {
		name string
		t    *TensorProto
		want []byte
	}{
		{"float_data", &TensorProto{DataType: new(int32(1)), Dims: []int64{2}, FloatData: []float32{1, -2}}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{"raw float", NewFloats("", []int64{2}, []float32{1, -2}), []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{"int64_data", &TensorProto{DataType: new(int32(7)), Dims: []int64{1}, Int64Data: []int64{-2}}, []byte{0xfe, 255, 255, 255, 255, 255, 255, 255}},
		{"raw int64", NewInts("", []int64{1}, []int64{-2}), []byte{0xfe, 255, 255, 255, 255, 255, 255, 255}},
		{"int32", &TensorProto{DataType: new(int32(6)), Int32Data: []int32{258}}, []byte{2, 1, 0, 0}},
		{"uint8", &TensorProto{DataType: new(int32(2)), Dims: []int64{2}, Int32Data: []int32{7, 255}}, []byte{7, 255}},
		{"bool", &TensorProto{DataType: new(int32(9)), Int32Data: []int32{1}}, []byte{1}},
		{"float16", &TensorProto{DataType: new(int32(10)), Int32Data: []int32{0x3c00}}, []byte{0, 0x3c}},
		{"double", &TensorProto{DataType: new(int32(11)), DoubleData: []float64{1}}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
		{"uint32", &TensorProto{DataType: new(int32(12)), Uint64Data: []uint64{1 << 31}}, []byte{0, 0, 0, 0x80}},
		{"uint64", &TensorProto{DataType: new(int32(13)), Uint64Data: []uint64{1 << 63}}, []byte{0, 0, 0, 0, 0, 0, 0, 0x80}},
		{"int4, three of them", &TensorProto{DataType: new(int32(22)), Dims: []int64{3}, Int32Data: []int32{0x21, 0x03}}, []byte{0x21, 3}},
		{"no elements", &TensorProto{DataType: new(int32(1)), Dims: []int64{0, 5}}, nil},
	} {
		if got, err := c.t.Bytes(); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x, %v, want % x", c.name, got, err, c.want)
		}
	}
}

func TestValues(t *testing.T) {
	if v, err := NewFloats("w", []int64{2}, []float32{0.5, -3}).Floats(); err != nil || v[0] != 0.5 || v[1] != -3 {
		t.Errorf("floats %v, %v", v, err)
	}
	if v, err := NewInts("i", nil, []int64{-9}).Ints(); err != nil || v[0] != -9 {
		t.Errorf("ints %v, %v", v, err)
	}
	if v, err := (&TensorProto{DataType: new(int32(6)), Int32Data: []int32{-9}}).Ints(); err != nil || v[0] != -9 {
		t.Errorf("32-bit ints %v, %v", v, err)
	}
	if _, err := NewInts("i", nil, []int64{1}).Floats(); err == nil {
		t.Error("an int64 tensor gave floats")
	}
}

func TestConstantsOfEveryAttribute(t *testing.T) {
	floats := &AttributeProto{Name: new("value_floats"), Type: AttributeProto_FLOATS.Enum(), Floats: []float32{1, 2}}
	for _, c := range []struct {
		a    *AttributeProto
		dims int
		want []byte
	}{
		{NewTensor("value", NewInts("k", []int64{1}, []int64{4})), 1, []byte{4, 0, 0, 0, 0, 0, 0, 0}},
		{NewInt("value_int", 4), 0, []byte{4, 0, 0, 0, 0, 0, 0, 0}},
		{NewIntList("value_ints", 4), 1, []byte{4, 0, 0, 0, 0, 0, 0, 0}},
		{NewFloat("value_float", 1), 0, []byte{0, 0, 0x80, 0x3f}},
		{floats, 1, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}},
	} {
		v, err := NewNode("Constant", nil, []string{"k"}, c.a).ValueOf()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := v.Bytes(); err != nil || !bytes.Equal(b, c.want) || len(v.GetDims()) != c.dims {
			t.Errorf("%s: % x in shape %v, %v, want % x", c.a.GetName(), b, v.GetDims(), err, c.want)
		}
	}
	if _, err := NewNode("Constant", nil, []string{"k"}, NewInt("value", 4)).ValueOf(); err == nil {
		t.Error("a constant whose tensor is missing was read")
	}
}
