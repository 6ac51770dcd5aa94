package train

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
)

// Build makes the network of the configuration and its first parameters, which follow from the seed.
// What cannot be built is a jobfile.ErrConfig.
func (n Network) Build(tasks []string, image network.Shape, seed uint64) (*network.Network, *network.Params, error) {
	net, params, err := n.build(tasks, image, rand.New(rand.NewPCG(seed, 0x1317)))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: network: %w", jobfile.ErrConfig, err)
	}
	return net, params, nil
}

func (n Network) build(tasks []string, image network.Shape, rng *rand.Rand) (*network.Network, *network.Params, error) {
	if n.fromFile() {
		return n.fromONNX(tasks, image, rng)
	}
	b, err := zoo.New(zoo.Architecture(n.Start), zoo.Options{Image: image, Dim: n.Dim, Widths: n.Widths, Stride: n.Stride})
	if err != nil {
		return nil, nil, err
	}
	net, err := n.apply(b, tasks, image)
	if err != nil {
		return nil, nil, err
	}
	params, err := net.NewParams(rng)
	return net, params, err
}

// apply makes a network of the backbone.
func (n Network) apply(b *zoo.Backbone, tasks []string, image network.Shape) (*network.Network, error) {
	if len(n.Sites) > 0 {
		for _, s := range n.Sites {
			if !slices.ContainsFunc(b.Nodes, func(node network.Node) bool { return node.Name == s }) {
				return nil, fmt.Errorf("site %q is no node; blocks end in %q", s, b.Sites)
			}
		}
		b.Paper = n.Sites
	}
	net, err := b.Apply(n.Method, tasks, image)
	if err == nil && n.TaskStatistics {
		zoo.TaskStatistics(net)
	}
	return net, err
}
