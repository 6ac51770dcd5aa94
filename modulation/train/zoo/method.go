package zoo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/train/network"
)

// Method is how one backbone serves several tasks.
type Method string

// The methods of the paper's comparison.
const (
	Independent    Method = "independent"     // a network for each task
	FullyShared    Method = "shared"          // one embedding for all tasks
	Branches       Method = "branches"        // a shared trunk, a tail for each task
	CSN            Method = "csn"             // Conditional Similarity Networks (Veit et al. 2017): learned masks on one embedding
	ModulationLast Method = "modulation-last" // scales on the embedding alone
	Modulation     Method = "modulation"      // scales at the paper's three sites
	ModulationAll  Method = "modulation-all"  // scales after every block
)

// Methods lists all of them, in the paper's order.
var Methods = []Method{Independent, FullyShared, Branches, CSN, ModulationLast, Modulation, ModulationAll}

// ParseMethod is the method of that name.
func ParseMethod(s string) (Method, error) {
	if slices.Contains(Methods, Method(s)) {
		return Method(s), nil
	}
	names := make([]string, len(Methods))
	for i, m := range Methods {
		names[i] = string(m)
	}
	return "", fmt.Errorf("method %q: want one of %s", s, strings.Join(names, ", "))
}

// csnMask is how CSN draws its masks, which a ReLU bounds below.
var csnMask = network.Modulation{Init: network.Init{Mean: 0.9, Std: 0.7}}

// Backbone is a network with one embedding for all tasks and the places where methods take hold.
type Backbone struct {
	Nodes     []network.Node // the last is the embedding, before it is normalised
	Sites     []string       // outputs of blocks, in order, and the embedding
	Paper     []string       // of these, where the paper modulates
	Branch    string         // the trunk's last node under Branches
	Embedding string
}

// Apply makes the backbone a network of the given tasks. The backbone itself stays as it is.
func (b *Backbone) Apply(m Method, tasks []string, image network.Shape) (*network.Network, error) {
	if _, err := ParseMethod(string(m)); err != nil {
		return nil, err
	}
	n := &network.Network{Tasks: tasks, Image: image, Nodes: slices.Clone(b.Nodes)}
	switch m {
	case Independent:
		own(n.Nodes)
	case Branches:
		at := slices.IndexFunc(n.Nodes, func(node network.Node) bool { return node.Name == b.Branch })
		own(n.Nodes[at+1:])
	case CSN:
		n.Nodes = modulate(n.Nodes, []string{b.Embedding}, csnMask)
	case ModulationLast:
		n.Nodes = modulate(n.Nodes, []string{b.Embedding}, network.Modulation{})
	case Modulation:
		n.Nodes = modulate(n.Nodes, b.Paper, network.Modulation{})
	case ModulationAll:
		n.Nodes = modulate(n.Nodes, b.Sites, network.Modulation{})
	}
	n.Nodes = append(n.Nodes, network.Node{Name: free(n.Nodes, "unit"), Op: network.Normalize{}, Inputs: []string{n.Output()}})
	return n, n.Check()
}

// own gives every task parameters of its own in these nodes.
func own(nodes []network.Node) {
	for i := range nodes {
		switch nodes[i].Op.(type) {
		case network.Conv, network.Dense, network.BatchNorm:
			nodes[i].PerTask = true
		}
	}
}

// modulate puts scales of each task behind the named nodes.
func modulate(nodes []network.Node, sites []string, op network.Modulation) []network.Node {
	var out []network.Node
	scaled := map[string]string{}
	for _, node := range nodes {
		node.Inputs = slices.Clone(node.Inputs)
		for i, in := range node.Inputs {
			if s, ok := scaled[in]; ok {
				node.Inputs[i] = s
			}
		}
		out = append(out, node)
		if slices.Contains(sites, node.Name) {
			name := node.Name + "_scale"
			out = append(out, network.Node{Name: name, Op: op, Inputs: []string{node.Name}, PerTask: true})
			scaled[node.Name] = name
		}
	}
	return out
}

// TaskStatistics gives every batch norm behind the first site statistics of its own for each task; in
// the trunk, whose output all tasks share in use, they would not help.
func TaskStatistics(n *network.Network) {
	tails := n.Tails()
	for i, node := range n.Nodes {
		if bn, ok := node.Op.(network.BatchNorm); ok && tails[node.Inputs[0]] {
			bn.TaskStatistics = true
			n.Nodes[i].Op = bn
		}
	}
}

// FreezeBackbone leaves only scales and heads to be trained: modulations, what tasks have of their own,
// and the last dense layer.
func FreezeBackbone(n *network.Network) {
	head := ""
	for _, node := range n.Nodes {
		if _, ok := node.Op.(network.Dense); ok {
			head = node.Name
		}
	}
	for i, node := range n.Nodes {
		_, scales := node.Op.(network.Modulation)
		n.Nodes[i].Frozen = node.Frozen || !scales && !node.PerTask && node.Name != head
	}
}
