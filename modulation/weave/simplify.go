package weave

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Simplify spells a model out in fewer nodes that compute the same, bit for bit: constants are
// initialisers, what follows from constants alone is computed, Identity, Dropout and shapes that
// broadcasting implies are gone, and nodes that do the same to the same tensors are one. input is the
// shape of the images; nil takes what the file declares.
func Simplify(m *onnx.ModelProto, input graph.Shape) (*onnx.ModelProto, error) {
	d, err := newDraft(m, input)
	if err != nil {
		return nil, fmt.Errorf("simplify: %w", err)
	}
	d.simplify()
	if m, err = d.finish(); err != nil {
		return nil, fmt.Errorf("simplify: %w", err)
	}
	return m, nil
}

func (d *draft) simplify() {
	for _, n := range d.live() {
		if d.passes(n) {
			d.bypass(n, n.In(0))
		} else if !d.outputs[out(n)] {
			d.evaluate(n)
		}
	}
	for _, n := range d.live() {
		d.unexpand(n)
		if is(n, "Mul", "Add") && len(n.GetInput()) == 2 && d.weights[n.In(0)] != nil {
			n.Input[0], n.Input[1] = n.Input[1], n.Input[0]
		}
	}
	d.sweep()
	d.share()
}

// passes reports whether the node passes its input on as it is.
func (d *draft) passes(n *onnx.NodeProto) bool {
	if len(n.GetInput()) == 0 || len(n.GetOutput()) == 0 {
		return false
	}
	if is(n, "Dropout") {
		mask := ""
		if len(n.GetOutput()) > 1 {
			mask = n.GetOutput()[1]
		}
		return n.In(2) == "" && len(d.readers[mask]) == 0 && !d.outputs[mask]
	}
	return is(n, "Identity")
}

// bypass lets the node's readers read what it was given; an output of the graph keeps its name.
func (d *draft) bypass(n *onnx.NodeProto, given string) {
	d.reroute(out(n), given)
	d.rename(out(n), given)
	d.remove(n)
	if d.outputs[out(n)] {
		d.present(given, out(n))
	}
}

// rename notes that a tensor has taken another's place.
func (d *draft) rename(from, to string) {
	d.keep[to] = d.keep[to] || d.keep[from]
	d.alias[from] = to
}

// present makes a tensor an output of the graph under the output's name.
func (d *draft) present(tensor, output string) {
	n := d.made[tensor]
	if n == nil || d.outputs[tensor] {
		d.insert(onnx.NewNode("Identity", []string{tensor}, []string{output}))
		d.shapes[output] = d.shapes[tensor]
		return
	}
	delete(d.made, tensor)
	n.Output = slices.Clone(n.GetOutput())
	n.Output[slices.Index(n.Output, tensor)] = output
	d.made[output] = n
	d.shapes[output] = d.shapes[tensor]
	delete(d.alias, output)
	d.rename(tensor, output)
	d.reroute(tensor, output)
}

// unexpand lets x / Expand(y, Shape(x)), as PyTorch writes the normalisation, broadcast y by itself.
func (d *draft) unexpand(n *onnx.NodeProto) {
	if !is(n, "Div", "Mul", "Add", "Sub") {
		return
	}
	e := d.made[n.In(1)]
	if is(e, "Expand") {
		if s := d.made[e.In(1)]; is(s, "Shape") && len(s.GetAttribute()) == 0 && s.In(0) == n.In(0) {
			d.feed(n, 1, e.In(0))
		}
	}
}

// share makes one node of all that have equal inputs and attributes, and one weight of equal ones.
func (d *draft) share() {
	d.shareWeights()
	first := map[string]*onnx.NodeProto{}
	for _, n := range d.sorted() {
		key := keyOf(n)
		same, ok := first[key]
		if !ok {
			first[key] = n
			continue
		}
		d.merge(n, same)
	}
	d.sweep()
}

// merge lets the readers of n read the outputs of the same node instead.
func (d *draft) merge(n, same *onnx.NodeProto) {
	if is(n, "Identity") && d.outputs[out(n)] {
		d.reroute(out(n), out(same))
		return
	}
	d.remove(n)
	for i, t := range n.GetOutput() {
		if t == "" {
			continue
		}
		d.reroute(t, same.GetOutput()[i])
		d.rename(t, same.GetOutput()[i])
		if d.outputs[t] {
			d.present(same.GetOutput()[i], t)
		}
	}
}

// keyOf is equal for nodes that compute the same.
func keyOf(n *onnx.NodeProto) string {
	n = onnx.Shallow(n)
	n.Name, n.DocString = nil, nil
	absent := make([]string, len(n.GetOutput()))
	for i, t := range n.GetOutput() {
		absent[i] = fmt.Sprint(t != "")
	}
	n.Output = absent
	n.Attribute = slices.SortedFunc(slices.Values(n.GetAttribute()), func(a, b *onnx.AttributeProto) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(n)
	if err != nil {
		return fmt.Sprintf("%p", n)
	}
	return string(b)
}

func (d *draft) shareWeights() {
	first, same := map[[sha256.Size]byte]string{}, map[string]string{}
	for _, n := range d.live() {
		for i, name := range n.GetInput() {
			if d.weights[name] == nil {
				continue
			}
			if same[name] == "" {
				key := weightKey(d.weights[name])
				if first[key] == "" {
					first[key] = name
				}
				same[name] = first[key]
			}
			if same[name] != name {
				d.feed(n, i, same[name])
			}
		}
	}
}

// weightKey is equal for constants of equal type, shape and content.
func weightKey(t *onnx.TensorProto) [sha256.Size]byte {
	b, err := t.Bytes()
	if err != nil { // strings
		b = []byte(strings.Join(append([]string{t.GetName()}, "strings"), "\x00"))
	}
	h := sha256.New()
	fmt.Fprintln(h, t.GetDataType(), t.GetDims(), len(b))
	h.Write(b)
	return [sha256.Size]byte(h.Sum(nil))
}
