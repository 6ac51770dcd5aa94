package onnx

import "fmt"

// Attr is the node's attribute of that name, or nil.
func (x *NodeProto) Attr(name string) *AttributeProto {
	for _, a := range x.GetAttribute() {
		if a.GetName() == name {
			return a
		}
	}
	return nil
}

// Int is the node's integer attribute, or the specification's default when the node does not write it.
func (x *NodeProto) Int(name string, def int64) int64 {
	if a := x.Attr(name); a != nil {
		return a.GetI()
	}
	return def
}

// Ints is the node's attribute of several integers, or nil.
func (x *NodeProto) Ints(name string) []int64 { return x.Attr(name).GetInts() }

// In is the name of input i, "" where the node leaves it out.
func (x *NodeProto) In(i int) string {
	if i < len(x.GetInput()) {
		return x.GetInput()[i]
	}
	return ""
}

// Title says which node is meant in a message: its name and operator, or what it yields when it has
// no name.
func (x *NodeProto) Title() string {
	op := x.GetOpType()
	if d := CanonicalDomain(x.GetDomain()); d != DefaultDomain {
		op = d + "." + op
	}
	if x.GetName() != "" {
		return fmt.Sprintf("node %q (%s)", x.GetName(), op)
	}
	return fmt.Sprintf("the %s node that yields %q", op, x.GetOutput())
}

// ValueOf turns a Constant node's attribute into the tensor it stands for.
func (x *NodeProto) ValueOf() (*TensorProto, error) {
	if len(x.GetAttribute()) != 1 {
		return nil, fmt.Errorf("%s: has %d attributes, want one", x.Title(), len(x.GetAttribute()))
	}
	a := x.GetAttribute()[0]
	switch a.GetName() {
	case "value":
		if a.GetT() != nil {
			return a.GetT(), nil
		}
	case "value_float":
		return NewFloats("", nil, []float32{a.GetF()}), nil
	case "value_floats":
		return NewFloats("", []int64{int64(len(a.GetFloats()))}, a.GetFloats()), nil
	case "value_int":
		return NewInts("", nil, []int64{a.GetI()}), nil
	case "value_ints":
		return NewInts("", []int64{int64(len(a.GetInts()))}, a.GetInts()), nil
	}
	return nil, fmt.Errorf("%s: attribute %q is no constant that Facet reads", x.Title(), a.GetName())
}
