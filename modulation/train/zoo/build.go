package zoo

import (
	"fmt"

	"github.com/facet-search/facet/modulation/train/network"
)

// builder appends nodes, each reading the last one unless told otherwise.
type builder struct {
	nodes []network.Node
	last  string
}

func newBuilder() *builder { return &builder{last: network.Input} }

// add appends a node and returns its name.
func (b *builder) add(name string, op network.Op, inputs ...string) string {
	if inputs == nil {
		inputs = []string{b.last}
	}
	b.nodes = append(b.nodes, network.Node{Name: name, Op: op, Inputs: inputs})
	b.last = name
	return name
}

// conv appends a convolution and its batch norm.
func (b *builder) conv(name string, out int, w network.Window) string {
	b.add(name, network.Conv{Out: out, Window: w})
	return b.add(name+"_bn", network.BatchNorm{})
}

// convReLU appends a convolution, its batch norm and a ReLU.
func (b *builder) convReLU(name string, out int, w network.Window) string {
	b.conv(name, out, w)
	return b.add(name+"_relu", network.ReLU{})
}

// Options of an architecture.
type Options struct {
	Image network.Shape // 3, height, width
	Dim   int           // of the embedding; 0 for the architecture's own
	// Widths are the channels of the stem and of each block; nil for the architecture's own. ResNet-18
	// has one a stage.
	Widths []int
	// Stride of the stem of Paper and Small; 0 means 1. A stem of stride 2 has windows of 5×5, and costs
	// a quarter from there on.
	Stride int
}

// stem is the first convolution's window.
func (o Options) stem(pad int) (network.Window, error) {
	switch o.Stride {
	case 0, 1:
		return network.Square(3, 1, pad), nil
	case 2:
		return network.Square(5, 2, 2*pad), nil
	}
	return network.Window{}, fmt.Errorf("a stem of stride %d, want 1 or 2", o.Stride)
}

func (o Options) widths(own ...int) ([]int, error) {
	if o.Widths == nil {
		return own, nil
	}
	if len(o.Widths) != len(own) {
		return nil, fmt.Errorf("%d widths, want %d", len(o.Widths), len(own))
	}
	for _, w := range o.Widths {
		if w < 1 {
			return nil, fmt.Errorf("widths %v", o.Widths)
		}
	}
	return o.Widths, nil
}

func (o Options) dim(own int) int {
	if o.Dim == 0 {
		return own
	}
	return o.Dim
}
