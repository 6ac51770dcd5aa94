// Package network describes the CNNs that Facet trains, without running them.
//
// A Network is a list of Nodes in topological order, each an Op on the outputs of earlier nodes. In
// training every image belongs to one task, so one list of nodes is the network of all tasks: a node
// that is PerTask has parameters of its own for each task, and everything before the first such node
// is the trunk. Params are the values of all parameters, a Graph is the network as an inference
// engine wants it, with ONNX's operators, the trunk once and the tail once a task.
package network

import (
	"errors"
	"fmt"
)

// Input is the name of the images among the inputs of nodes.
const Input = "images"

// Shape is channels, height, width of one image's activations; a vector has height and width 1.
type Shape [3]int

// Size is the number of values.
func (s Shape) Size() int { return s[0] * s[1] * s[2] }

// Node is one operation.
type Node struct {
	Name   string // unique; parameters and the output are named after it
	Op     Op
	Inputs []string // Input or the names of earlier nodes
	// PerTask gives each task parameters (and batch statistics) of its own.
	PerTask bool
	// Frozen keeps the parameters as they are; a frozen BatchNorm uses its running statistics.
	Frozen bool
}

// Network is a CNN with one embedding a task.
type Network struct {
	Tasks []string
	Image Shape
	Nodes []Node // in topological order; the last one's output is the embedding
}

// Op is one of the operations of this package.
type Op interface {
	// Shape is the output's shape for these inputs.
	Shape(in []Shape) (Shape, error)
	// Params describes the parameters for these inputs.
	Params(in []Shape) []Spec
}

// Check reports what is wrong with the network, or nil.
func (n *Network) Check() error {
	if len(n.Tasks) == 0 {
		return errors.New("network: no tasks")
	}
	if len(n.Nodes) == 0 {
		return errors.New("network: no nodes")
	}
	seen := map[string]bool{}
	for _, t := range n.Tasks {
		if t == "" || seen[t] {
			return fmt.Errorf("network: task %q is empty or there twice", t)
		}
		seen[t] = true
	}
	shapes, err := n.Shapes()
	if err != nil {
		return err
	}
	out := shapes[n.Output()]
	if out[1] != 1 || out[2] != 1 {
		return fmt.Errorf("network: output %q is of shape %v, want a vector", n.Output(), out)
	}
	for _, node := range n.Nodes[:len(n.Nodes)-1] {
		if _, ok := node.Op.(Normalize); ok {
			return fmt.Errorf("network: node %q: Normalize must be the last node", node.Name)
		}
	}
	return nil
}

// Output is the name of the node that yields the embedding.
func (n *Network) Output() string { return n.Nodes[len(n.Nodes)-1].Name }

// Shapes are the shapes of the images and of all nodes' outputs.
func (n *Network) Shapes() (map[string]Shape, error) {
	for _, d := range n.Image {
		if d < 1 {
			return nil, fmt.Errorf("network: images of shape %v", n.Image)
		}
	}
	shapes := map[string]Shape{Input: n.Image}
	for _, node := range n.Nodes {
		if _, ok := shapes[node.Name]; ok || node.Name == "" {
			return nil, fmt.Errorf("network: node name %q is empty or there twice", node.Name)
		}
		if node.Op == nil {
			return nil, fmt.Errorf("network: node %q has no operation", node.Name)
		}
		in, err := node.inputs(shapes)
		if err != nil {
			return nil, err
		}
		s, err := node.Op.Shape(in)
		if err != nil {
			return nil, fmt.Errorf("network: node %q: %w", node.Name, err)
		}
		shapes[node.Name] = s
	}
	return shapes, nil
}

func (n *Node) inputs(shapes map[string]Shape) ([]Shape, error) {
	in := make([]Shape, len(n.Inputs))
	for i, name := range n.Inputs {
		s, ok := shapes[name]
		if !ok {
			return nil, fmt.Errorf("network: node %q: input %q is no earlier node", n.Name, name)
		}
		in[i] = s
	}
	return in, nil
}

// Dim is the length of an embedding; the network has passed Check.
func (n *Network) Dim() int {
	shapes, err := n.Shapes()
	if err != nil {
		return 0
	}
	return shapes[n.Output()][0]
}

// Consumers lists, for every tensor, the indices of the nodes that read it.
func (n *Network) Consumers() map[string][]int {
	c := map[string][]int{}
	for i, node := range n.Nodes {
		for _, in := range node.Inputs {
			c[in] = append(c[in], i)
		}
	}
	return c
}

// Tails lists the nodes whose outputs differ between tasks for the same image; the others are the
// trunk.
func (n *Network) Tails() map[string]bool {
	tail := map[string]bool{}
	for _, node := range n.Nodes {
		tail[node.Name] = node.PerTask
		for _, in := range node.Inputs {
			tail[node.Name] = tail[node.Name] || tail[in]
		}
	}
	return tail
}

// MACs is the number of multiply-accumulates in convolutions and dense layers for one image: of the
// trunk, and of one task's tail.
func (n *Network) MACs() (trunk, tail int, err error) {
	shapes, err := n.Shapes()
	if err != nil {
		return 0, 0, err
	}
	tails := n.Tails()
	for _, node := range n.Nodes {
		macs := 0
		switch op := node.Op.(type) {
		case Conv:
			macs = shapes[node.Name].Size() * shapes[node.Inputs[0]][0] / op.groups() * op.Kernel[0] * op.Kernel[1]
		case Dense:
			macs = op.Out * shapes[node.Inputs[0]].Size()
		}
		if tails[node.Name] {
			tail += macs
		} else {
			trunk += macs
		}
	}
	return trunk, tail, nil
}
