package zoo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/train/network"
)

// Architecture is the name of a backbone.
type Architecture string

// The architectures.
const (
	// Paper is the paper's: a stem of 32 channels, blocks of 64, 128, 128 and 128 (convolution, 2×2
	// max-pooling, two convolutions whose sum with the pool's output leaves the block), a dense layer of
	// 256. At the paper's 150×150 it has 2.95 M parameters. Its stem and the first convolution of each
	// block do not pad, except where an image would vanish.
	Paper Architecture = "paper"
	// Small is of the same make, padded, with blocks of 64, 96, 128 and 128 and a dense layer of 128.
	Small Architecture = "small"
	// ResNet18 is He et al. 2016, with a dense layer of 128 in the classifier's place.
	ResNet18 Architecture = "resnet18"
)

// embedding is the name of the last dense layer.
const embedding = "embedding"

// Architectures lists all of them.
var Architectures = []Architecture{Paper, Small, ResNet18}

// New is the backbone of that name.
func New(a Architecture, o Options) (*Backbone, error) {
	build, ok := map[Architecture]func(Options) (*Backbone, error){
		Paper: paper, Small: small, ResNet18: resNet18,
	}[a]
	if !ok {
		names := make([]string, len(Architectures))
		for i, n := range Architectures {
			names[i] = string(n)
		}
		return nil, fmt.Errorf("architecture %q: want one of %s", a, strings.Join(names, ", "))
	}
	b, err := build(o)
	if err != nil {
		return nil, fmt.Errorf("architecture %s: %w", a, err)
	}
	return b, nil
}

func paper(o Options) (*Backbone, error) {
	widths, err := o.widths(32, 64, 128, 128, 128)
	if err != nil {
		return nil, err
	}
	pad := 0
	if unpaddedEnd(min(o.Image[1], o.Image[2])/max(o.Stride, 1), len(widths)-1) < 2 {
		pad = 1
	}
	return o.residual(widths, pad, o.dim(256))
}

// unpaddedEnd is the side of the last block's output without padding.
func unpaddedEnd(side, blocks int) int {
	side -= 2
	for range blocks {
		side = (side - 2) / 2
	}
	return side
}

func small(o Options) (*Backbone, error) {
	widths, err := o.widths(32, 64, 96, 128, 128)
	if err != nil {
		return nil, err
	}
	return o.residual(widths, 1, o.dim(128))
}

// residual is the paper's make of network: a stem and blocks that halve the resolution.
func (o Options) residual(widths []int, pad, dim int) (*Backbone, error) {
	stem, err := o.stem(pad)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	out := &Backbone{Sites: []string{b.convReLU("stem", widths[0], stem)}}
	for i, width := range widths[1:] {
		name := fmt.Sprintf("block%d", i+2) // the stem is the first
		b.convReLU(name+"_conv1", width, network.Square(3, 1, pad))
		pool := b.add(name+"_pool", network.MaxPool{Window: network.Square(2, 2, 0)})
		b.convReLU(name+"_conv2", width, network.Square(3, 1, 1))
		last := b.convReLU(name+"_conv3", width, network.Square(3, 1, 1))
		out.Sites = append(out.Sites, b.add(name, network.Add{}, pool, last))
	}
	return out.finish(b, embedding, dim), nil
}

// finish adds the dense layer and names the paper's sites: after the last block but one, after the
// last, and on the embedding.
func (out *Backbone) finish(b *builder, name string, dim int) *Backbone {
	out.Branch = out.Sites[len(out.Sites)-2]
	out.Embedding = b.add(name, network.Dense{Out: dim})
	out.Sites = append(out.Sites, out.Embedding)
	out.Paper = slices.Clone(out.Sites[len(out.Sites)-3:])
	out.Nodes = b.nodes
	return out
}

func resNet18(o Options) (*Backbone, error) {
	widths, err := o.widths(64, 128, 256, 512)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	b.convReLU("stem", widths[0], network.Square(7, 2, 3))
	b.add("stem_pool", network.MaxPool{Window: network.Square(3, 2, 1)})
	out := &Backbone{}
	var stages []string
	from := widths[0]
	for i, width := range widths {
		for k := range 2 {
			stride := 1
			if i > 0 && k == 0 {
				stride = 2
			}
			out.Sites = append(out.Sites, b.basicBlock(fmt.Sprintf("layer%d_%d", i+1, k), from, width, stride))
			from = width
		}
		stages = append(stages, b.last)
	}
	b.add("pool", network.GlobalAvgPool{})
	out.Branch = stages[len(stages)-2]
	out.Embedding = b.add(embedding, network.Dense{Out: o.dim(128)})
	out.Sites = append(out.Sites, out.Embedding)
	out.Paper = []string{stages[len(stages)-2], stages[len(stages)-1], out.Embedding}
	out.Nodes = b.nodes
	return out, nil
}

// basicBlock is two convolutions around which the input goes, by a convolution of one pixel where the
// shape changes.
func (b *builder) basicBlock(name string, from, to, stride int) string {
	input := b.last
	b.convReLU(name+"_conv1", to, network.Square(3, stride, 1))
	main := b.conv(name+"_conv2", to, network.Square(3, 1, 1))
	around := input
	if from != to || stride != 1 {
		b.last = input
		around = b.conv(name+"_down", to, network.Square(1, stride, 0))
	}
	b.add(name+"_add", network.Add{}, main, around)
	return b.add(name, network.ReLU{})
}
