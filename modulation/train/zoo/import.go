package zoo

import (
	"errors"
	"slices"

	"github.com/facet-search/facet/modulation/train/network"
)

// Extend makes a backbone of a network that has nothing of any task's own yet, such as one read from a
// file. Its sites are the last outputs of each resolution, and the embedding: the network's output, or,
// where dim is not 0, that of a dense layer of dim outputs behind it.
func Extend(n *network.Network, dim int) (*Backbone, error) {
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	b := &builder{}
	for _, node := range n.Nodes {
		if _, ok := node.Op.(network.Normalize); ok {
			continue // Apply puts one behind the embedding
		}
		b.nodes, b.last = append(b.nodes, node), node.Name
	}
	if len(b.nodes) == 0 {
		return nil, errors.New("the network has no layers")
	}
	out := &Backbone{Sites: stages(b.nodes, shapes)}
	if len(out.Sites) < 2 {
		return nil, errors.New("the network has fewer than two resolutions, so there is no telling trunk and tail apart")
	}
	if dim > 0 {
		return out.finish(b, free(b.nodes, embedding), dim), nil
	}
	out.Branch, out.Embedding = out.Sites[len(out.Sites)-2], b.last
	out.Sites = append(out.Sites, out.Embedding)
	out.Paper = append([]string(nil), out.Sites[len(out.Sites)-3:]...)
	out.Nodes = b.nodes
	return out, nil
}

// free is the name, or one like it that no node has.
func free(nodes []network.Node, name string) string {
	for slices.ContainsFunc(nodes, func(n network.Node) bool { return n.Name == name }) {
		name += "_"
	}
	return name
}

// stages are the last nodes of each resolution before the activations become vectors.
func stages(nodes []network.Node, shapes map[string]network.Shape) (last []string) {
	size := [2]int{}
	for _, node := range nodes {
		switch node.Op.(type) {
		case network.GlobalAvgPool, network.Flatten, network.Dense:
			return last
		}
		s := shapes[node.Name]
		if now := [2]int{s[1], s[2]}; now == size {
			last[len(last)-1] = node.Name
		} else {
			size, last = now, append(last, node.Name)
		}
	}
	return last
}

// Adopt copies the parameters of the network that a backbone was made of into those of the network that
// it became. What every task has of its own starts from the same values.
func Adopt(into *network.Params, from *network.Params, of *network.Network) {
	for _, p := range into.List {
		if q := of.Of(from, p.Node, p.Role, network.Shared); q != nil && len(q.Data) == len(p.Data) {
			copy(p.Data, q.Data)
		}
	}
}
