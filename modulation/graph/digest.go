package graph

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	stdhash "hash"
	"math"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

type hash = [sha256.Size]byte

// Digest identifies what a tensor's computation is: tensors with equal digests are computed alike, from
// the same inputs, by the same operators with the same weights. It is a format: rows of earlier
// snapshots are reused by it, so a change of meaning below needs a new version in its tags.
//
// It is a Merkle hash. A message is a sequence of fields, each an 8-byte little-endian length and its
// bytes; integers are 8 bytes little-endian; H is SHA-256.
//
//	digest    H("facet.digest/1", hash of the tensor)
//	input     H("input", position among the graph's inputs that are no initialisers, element type)
//	constant  H("constant", element type, rank, extents…, bytes as in raw_data; or each string)
//	absent    H("absent"), an optional input left out
//	node      H("node", domain, operator set's version, operator, overload, number of outputs,
//	            number of attributes, attributes by name…, number of inputs, hashes of the inputs…)
//	tensor    H("output", hash of its node, position among the node's outputs)
//	attribute name, type, number of values, values… (floats as their 4 bytes, tensors as constants)
//
// Canonical form: the domain "" is "ai.onnx"; an Identity node is the tensor it passes on; a Constant
// node is its value; inputs and outputs left out at the end of a list are cut off. So the digest does
// not depend on names, doc strings, the order of nodes or attributes, nodes and initialisers that the
// tensor does not need, the input's declared shape, or how constants are stored. It does depend on
// everything else as it is written: an attribute's default spelled out is another digest than the
// attribute left out, and so is the same graph under another operator set or with constants folded.
//
// A node whose result is not a function of its inputs (random numbers, batch statistics) is refused: its
// outputs cannot be reused.
func (g *Graph) Digest(tensor string) ([sha256.Size]byte, error) {
	if !g.Has(tensor) {
		return hash{}, fmt.Errorf("the graph has no tensor %q", tensor)
	}
	for _, i := range g.ancestors(tensor) {
		if err := g.hashNode(g.nodes[i]); err != nil {
			return hash{}, err
		}
	}
	h, err := g.hashTensor(tensor)
	if err != nil {
		return hash{}, err
	}
	m := newMessage("facet.digest/1")
	m.bytes(h[:])
	return m.sum(), nil
}

// hashTensor is the hash of a tensor whose producer, if any, is hashed already.
func (g *Graph) hashTensor(name string) (hash, error) {
	if h, ok := g.hashes[name]; ok {
		return h, nil
	}
	m := message{}
	switch pos, fed := g.inputs[name]; {
	case name == "":
		m = newMessage("absent")
	case fed:
		m = newMessage("input")
		m.int(int64(pos))
		m.int(int64(g.inputInfo[pos].GetType().GetTensorType().GetElemType()))
	case g.constants[name] != nil:
		m = newMessage("constant")
		if err := m.tensor(g.constants[name]); err != nil {
			return hash{}, err
		}
	default:
		return hash{}, fmt.Errorf("tensor %q has no producer", name)
	}
	h := m.sum()
	g.hashes[name] = h
	return h, nil
}

// hashNode computes the hashes of a node's outputs from those of its inputs.
func (g *Graph) hashNode(n *onnx.NodeProto) error {
	if isConstant(n) {
		return nil // hashTensor knows its value
	}
	if isIdentity(n) {
		h, err := g.hashTensor(n.In(0))
		g.hashes[n.GetOutput()[0]] = h
		return err
	}
	if _, done := g.hashes[firstNamed(n.GetOutput())]; done {
		return nil
	}
	nh, err := g.nodeHash(n)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Title(), err)
	}
	for i, name := range n.GetOutput() {
		if name == "" {
			continue
		}
		m := newMessage("output")
		m.bytes(nh[:])
		m.int(int64(i))
		g.hashes[name] = m.sum()
	}
	return nil
}

func firstNamed(names []string) string {
	i := slices.IndexFunc(names, func(s string) bool { return s != "" })
	return names[max(i, 0)]
}

func (g *Graph) nodeHash(n *onnx.NodeProto) (hash, error) {
	if err := g.checkPure(n); err != nil {
		return hash{}, err
	}
	domain := onnx.CanonicalDomain(n.GetDomain())
	version, ok := g.Model.Opset(domain)
	if !ok {
		return hash{}, fmt.Errorf("the file does not import the operator set %q", domain)
	}
	m := newMessage("node")
	m.string(domain)
	m.int(version)
	m.string(n.GetOpType())
	m.string(n.GetOverload())
	m.int(int64(len(trimmed(n.GetOutput()))))
	if err := m.attributes(n.GetAttribute()); err != nil {
		return hash{}, err
	}
	inputs := trimmed(n.GetInput())
	m.int(int64(len(inputs)))
	for _, in := range inputs {
		h, err := g.hashTensor(in)
		if err != nil {
			return hash{}, err
		}
		m.bytes(h[:])
	}
	return m.sum(), nil
}

// trimmed is the list without the empty names at its end.
func trimmed(names []string) []string {
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	return names
}

// checkPure refuses nodes whose output is not a function of one image and the weights.
func (g *Graph) checkPure(n *onnx.NodeProto) error {
	switch n.GetOpType() {
	case "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli":
		return errors.New("draws random numbers, so that an image would have another embedding every time")
	case "Dropout":
		if n.In(2) == "" {
			return nil
		}
		training, err := g.Constant(n.In(2)).Bytes()
		if err != nil || len(training) != 1 || training[0] != 0 {
			return errors.New("may drop channels at random: export the model in evaluation mode")
		}
	case "BatchNormalization":
		if n.Int("training_mode", 0) != 0 {
			return errors.New("normalises over the batch, so that an image's embedding would depend on its neighbours: " +
				"export the model in evaluation mode")
		}
	}
	return nil
}

// message is a hash of length-prefixed fields.
type message struct{ h stdhash.Hash }

func newMessage(tag string) message {
	m := message{sha256.New()}
	m.string(tag)
	return m
}

func (m message) int(v int64) { m.bytes(binary.LittleEndian.AppendUint64(nil, uint64(v))) }

func (m message) string(s string) { m.bytes([]byte(s)) }

func (m message) bytes(b []byte) {
	m.h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b)))) // a hash's Write never fails
	m.h.Write(b)
}

func (m message) float(f float32) {
	m.bytes(binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)))
}

func (m message) sum() hash { return hash(m.h.Sum(nil)) }

func (m message) tensor(t *onnx.TensorProto) error {
	m.int(int64(t.GetDataType()))
	m.int(int64(len(t.GetDims())))
	for _, d := range t.GetDims() {
		m.int(d)
	}
	if onnx.DataTypeOf(t) == onnx.TensorProto_STRING {
		for _, s := range t.GetStringData() {
			m.bytes(s)
		}
		return nil
	}
	b, err := t.Bytes()
	if err != nil {
		return err
	}
	m.bytes(b)
	return nil
}

func (m message) attributes(list []*onnx.AttributeProto) error {
	list = slices.SortedFunc(slices.Values(list), func(a, b *onnx.AttributeProto) int {
		return cmp.Compare(a.GetName(), b.GetName())
	})
	m.int(int64(len(list)))
	for _, a := range list {
		m.string(a.GetName())
		m.int(int64(a.GetType()))
		if err := m.values(a); err != nil {
			return fmt.Errorf("attribute %q: %w", a.GetName(), err)
		}
	}
	return nil
}

func (m message) values(a *onnx.AttributeProto) error {
	switch a.GetType() {
	case onnx.AttributeProto_FLOAT:
		fields(m, []float32{a.GetF()}, m.float)
	case onnx.AttributeProto_FLOATS:
		fields(m, a.GetFloats(), m.float)
	case onnx.AttributeProto_INT:
		fields(m, []int64{a.GetI()}, m.int)
	case onnx.AttributeProto_INTS:
		fields(m, a.GetInts(), m.int)
	case onnx.AttributeProto_STRING:
		fields(m, [][]byte{a.GetS()}, m.bytes)
	case onnx.AttributeProto_STRINGS:
		fields(m, a.GetStrings(), m.bytes)
	case onnx.AttributeProto_TENSOR:
		m.int(1)
		return m.tensor(a.GetT())
	default:
		return fmt.Errorf("type %v is not supported", a.GetType())
	}
	return nil
}

func fields[T any](m message, values []T, write func(T)) {
	m.int(int64(len(values)))
	for _, v := range values {
		write(v)
	}
}

// Digests are the digests of all tensors that nodes yield or read, by name.
func (g *Graph) Digests() (map[string][sha256.Size]byte, error) {
	all := make(map[string]hash)
	note := func(t string) error {
		h, err := g.hashTensor(t)
		m := newMessage("facet.digest/1")
		m.bytes(h[:])
		all[t] = m.sum()
		return err
	}
	for _, i := range g.order {
		n := g.nodes[i]
		if err := g.hashNode(n); err != nil {
			return nil, err
		}
		for _, t := range slices.Concat(n.GetInput(), n.GetOutput()) {
			if err := note(t); t != "" && err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}
