package onnxgo

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// graph is what the check needs of an ONNX file. onnx-go keeps its own reading of it to itself, and
// hands out neither domains nor operator sets.
type graph struct {
	opset   int64
	inputs  []value
	values  []value // declared outputs and intermediate values
	nodes   []node
	weights map[string]weight
}

// value is a declared tensor; a symbolic extent is -1.
type value struct {
	name string
	dims []int64
}

type weight struct {
	dims     []int64
	dataType int64
}

type node struct {
	name, op, domain string
	in, out          []string
	attributes       map[string]attribute
}

type attribute struct {
	i    int64
	f    float32
	s    string
	ints []int64
}

func (n node) title() string {
	if n.name == "" && len(n.out) > 0 {
		return fmt.Sprintf("the %s node that yields %q", n.op, n.out[0])
	}
	return fmt.Sprintf("node %q (%s)", n.name, n.op)
}

// field is one field of an encoded message: v for numbers, b for everything with a length.
type field struct {
	num protowire.Number
	v   uint64
	b   []byte
}

// fields calls do with every field of a message.
func fields(b []byte, do func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := field{num: num}
		switch typ {
		case protowire.VarintType:
			f.v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.v = uint64(v)
		case protowire.BytesType:
			f.b, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}

// ints appends a repeated integer, which may be packed.
func (f field) ints(list []int64) ([]int64, error) {
	if f.b == nil {
		return append(list, int64(f.v)), nil
	}
	for b := f.b; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		list, b = append(list, int64(v)), b[n:]
	}
	return list, nil
}

// The numbers below are those of the messages in onnx.proto of the ONNX specification.

func parse(model []byte) (*graph, error) {
	g := &graph{weights: make(map[string]weight)}
	found := false
	err := fields(model, func(f field) error {
		switch f.num {
		case 7:
			found = true
			return g.parseGraph(f.b)
		case 8:
			return g.parseOpset(f.b)
		}
		return nil
	})
	if err == nil && !found {
		err = errors.New("it holds no graph")
	}
	if err != nil {
		return nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	return g, nil
}

func (g *graph) parseOpset(b []byte) error {
	domain, version := "", int64(0)
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			domain = string(f.b)
		case 2:
			version = int64(f.v)
		}
		return nil
	})
	if domain == "" || domain == "ai.onnx" {
		g.opset = version
	}
	return err
}

func (g *graph) parseGraph(b []byte) error {
	return fields(b, func(f field) error {
		switch f.num {
		case 1:
			n, err := parseNode(f.b)
			g.nodes = append(g.nodes, n)
			return err
		case 5:
			return g.parseWeight(f.b)
		case 11:
			v, err := parseValue(f.b)
			g.inputs = append(g.inputs, v)
			return err
		case 12, 13:
			v, err := parseValue(f.b)
			g.values = append(g.values, v)
			return err
		}
		return nil
	})
}

func parseNode(b []byte) (node, error) {
	n := node{attributes: make(map[string]attribute)}
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			n.in = append(n.in, string(f.b))
		case 2:
			n.out = append(n.out, string(f.b))
		case 3:
			n.name = string(f.b)
		case 4:
			n.op = string(f.b)
		case 7:
			n.domain = string(f.b)
		case 5:
			return n.parseAttribute(f.b)
		}
		return nil
	})
	return n, err
}

func (n *node) parseAttribute(b []byte) error {
	name, a := "", attribute{}
	err := fields(b, func(f field) (err error) {
		switch f.num {
		case 1:
			name = string(f.b)
		case 2:
			a.f = math.Float32frombits(uint32(f.v))
		case 3:
			a.i = int64(f.v)
		case 4:
			a.s = string(f.b)
		case 8:
			a.ints, err = f.ints(a.ints)
		}
		return err
	})
	n.attributes[name] = a
	return err
}

func (g *graph) parseWeight(b []byte) error {
	name, w := "", weight{dims: []int64{}}
	err := fields(b, func(f field) (err error) {
		switch f.num {
		case 1:
			w.dims, err = f.ints(w.dims)
		case 2:
			w.dataType = int64(f.v)
		case 8:
			name = string(f.b)
		}
		return err
	})
	g.weights[name] = w
	return err
}

// parseValue descends ValueInfoProto → TypeProto → Tensor → TensorShapeProto.
func parseValue(b []byte) (value, error) {
	var v value
	dim := func(f field) error {
		if f.num != 1 {
			return nil
		}
		d := int64(-1)
		err := fields(f.b, func(f field) error {
			if f.num == 1 {
				d = int64(f.v)
			}
			return nil
		})
		v.dims = append(v.dims, d)
		return err
	}
	within := func(num protowire.Number, do func(field) error) func(field) error {
		return func(f field) error {
			if f.num != num {
				return nil
			}
			return fields(f.b, do)
		}
	}
	typed := within(2, within(1, within(2, dim)))
	err := fields(b, func(f field) error {
		if f.num == 1 {
			v.name = string(f.b)
		}
		return typed(f)
	})
	return v, err
}
