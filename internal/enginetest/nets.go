package enginetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/facet-search/facet/modulation/train/network"
)

// net chains nodes: without a name they are n0, n1, …; without inputs they read the one before.
func net(image network.Shape, nodes ...network.Node) *network.Network {
	n := &network.Network{Tasks: []string{"shape", "colour", "style"}, Image: image}
	last := network.Input
	for i, node := range nodes {
		if node.Name == "" {
			node.Name = fmt.Sprintf("n%d", i)
		}
		if node.Inputs == nil {
			node.Inputs = []string{last}
		}
		last = node.Name
		n.Nodes = append(n.Nodes, node)
	}
	return n
}

func node(op network.Op) network.Node { return network.Node{Op: op} }

func named(name string, op network.Op, inputs ...string) network.Node {
	return network.Node{Name: name, Op: op, Inputs: inputs}
}

func perTask(op network.Op) network.Node { return network.Node{Op: op, PerTask: true} }

func conv(out, k, stride, pad, groups int) network.Conv {
	return network.Conv{Out: out, Window: network.Square(k, stride, pad), Groups: groups}
}

// small cover every operation, in the trunk, in tails and on vectors.
func small() map[string]*network.Network {
	image := network.Shape{3, 8, 10}
	relu, bn, scale := node(network.ReLU{}), node(network.BatchNorm{}), perTask(network.Modulation{})
	biased := conv(6, 3, 1, 1, 1)
	biased.Bias = true
	odd := network.Conv{Out: 6, Window: network.Window{Kernel: [2]int{3, 2}, Stride: [2]int{2, 1}, Pads: [4]int{1, 0, 0, 1}}}
	last := node(network.Normalize{})
	return map[string]*network.Network{
		"paper": net(image, node(conv(8, 3, 1, 1, 1)), bn, relu, scale, node(conv(8, 3, 1, 1, 1)), bn, relu,
			named("pool", network.MaxPool{Window: network.Square(2, 2, 0)}), node(conv(8, 3, 1, 1, 1)), bn, relu,
			named("sum", network.Add{}, "n10", "pool"), scale, node(network.Flatten{}), node(network.Dense{Out: 6}), bn, relu, scale, last),
		"mobile": net(image, node(conv(6, 3, 2, 1, 1)), bn, node(network.ReLU{Top: 6}), scale, node(conv(6, 3, 1, 1, 6)), bn,
			node(network.ReLU{Top: 6}), node(conv(12, 1, 1, 0, 1)), node(network.GlobalAvgPool{}), node(network.Dense{Out: 5, Bias: true}), last),
		"per task":    net(image, node(odd), perTask(biased), perTask(network.BatchNorm{}), relu, perTask(network.Dense{Out: 4, Bias: true}), last),
		"statistics":  net(image, node(biased), node(network.BatchNorm{TaskStatistics: true, Eps: 1e-3}), relu, node(network.Dense{Out: 4}), last),
		"one for all": net(image, node(conv(6, 3, 1, 1, 3)), relu, node(network.AvgPool{Window: network.Square(3, 2, 1)}), node(network.GlobalAvgPool{})),
		"masks":       net(image, node(conv(6, 3, 1, 1, 3)), node(network.GlobalAvgPool{}), scale, last),
		"vectors": net(image, node(network.AvgPool{Window: network.Square(3, 2, 1), CountPads: true}), node(network.Dense{Out: 6}),
			named("a", network.BatchNorm{}), named("b", conv(6, 1, 1, 0, 2)), named("c", network.Add{}, "b", "a"), node(network.MaxPool{Window: network.Square(1, 1, 0)}), scale),
	}
}

// Trained draws parameters as training leaves them: some scales dead, statistics away from 0 and 1.
func Trained(t testing.TB, n *network.Network) *network.Params {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	ps, err := n.NewParams(rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps.List {
		for i := range p.Data {
			switch p.Role {
			case network.Scale:
				p.Data[i] = float32(0.7 + 0.6*rng.NormFloat64())
			case network.RunningVar:
				p.Data[i] = float32(0.3 + rng.Float64())
			case network.RunningMean, network.Shift, network.Bias:
				p.Data[i] = float32(0.3 * rng.NormFloat64())
			case network.Gain:
				p.Data[i] = float32(1 + 0.3*rng.NormFloat64())
			}
		}
	}
	return ps
}

// residual is one of ResNet's basic blocks after node x, whose name is that of its last node.
func residual(name, x string, out, stride int) []network.Node {
	shortcut := x
	var nodes []network.Node
	add := func(n string, op network.Op, in ...string) {
		nodes = append(nodes, named(name+n, op, in...))
	}
	if stride > 1 {
		add("/down", conv(out, 1, stride, 0, 1), x)
		add("/downnorm", network.BatchNorm{}, name+"/down")
		shortcut = name + "/downnorm"
	}
	add("/conv1", conv(out, 3, stride, 1, 1), x)
	add("/bn1", network.BatchNorm{}, name+"/conv1")
	add("/relu1", network.ReLU{}, name+"/bn1")
	add("/conv2", conv(out, 3, 1, 1, 1), name+"/relu1")
	add("/bn2", network.BatchNorm{}, name+"/conv2")
	add("/sum", network.Add{}, name+"/bn2", shortcut)
	add("", network.ReLU{}, name+"/sum")
	return nodes
}

// resnet18 has ResNet-18's 18 layers with few channels, and sites behind layer3 and before the head.
func resnet18(image network.Shape) *network.Network {
	nodes := []network.Node{named("stem", conv(4, 7, 2, 3, 1)), named("norm", network.BatchNorm{}), named("relu", network.ReLU{}),
		named("pool", network.MaxPool{Window: network.Square(3, 2, 1)})}
	last := "pool"
	for layer, width := range []int{4, 6, 8, 10} {
		for block := range 2 {
			stride := 1
			if layer > 0 && block == 0 {
				stride = 2
			}
			name := []string{"layer1", "layer2", "layer3", "layer4"}[layer] + []string{".0", ".1"}[block]
			nodes = append(nodes, residual(name, last, width, stride)...)
			last = name
		}
		if layer == 2 {
			nodes = append(nodes, network.Node{Name: "site3", Op: network.Modulation{}, PerTask: true})
			last = "site3"
		}
	}
	nodes = append(nodes, named("mean", network.GlobalAvgPool{}), network.Node{Name: "site4", Op: network.Modulation{}, PerTask: true},
		named("fc", network.Dense{Out: 7, Bias: true}), named("unit", network.Normalize{}))
	return net(image, nodes...)
}

// mobile has MobileNetV2's inverted residuals, with a site on an expanded activation.
func mobile(image network.Shape) *network.Network {
	var nodes []network.Node
	layer := func(name string, op network.Op, in string) {
		nodes = append(nodes, named(name, op, in), named(name+"/bn", network.BatchNorm{}, name), named(name+"/relu", network.ReLU{Top: 6}, name+"/bn"))
	}
	layer("stem", conv(6, 3, 2, 1, 1), network.Input)
	layer("expand", conv(12, 1, 1, 0, 1), "stem/relu")
	layer("depth", conv(12, 3, 1, 1, 12), "expand/relu")
	nodes = append(nodes, named("project", conv(6, 1, 1, 0, 1), "depth/relu"), named("project/bn", network.BatchNorm{}, "project"),
		named("sum", network.Add{}, "stem/relu", "project/bn"))
	layer("expand2", conv(12, 1, 1, 0, 1), "sum")
	nodes = append(nodes, network.Node{Name: "site", Op: network.Modulation{}, PerTask: true, Inputs: []string{"expand2/relu"}})
	layer("depth2", conv(12, 3, 2, 1, 12), "site")
	nodes = append(nodes, named("project2", conv(8, 1, 1, 0, 1), "depth2/relu"), named("project2/bn", network.BatchNorm{}, "project2"))
	nodes = append(nodes, named("mean", network.GlobalAvgPool{}), named("fc", network.Dense{Out: 5}), named("unit", network.Normalize{}))
	return net(image, nodes...)
}

// Nets are networks of every operation and make, for images of various sizes.
func Nets() map[string]*network.Network {
	all := small()
	all["resnet18"], all["mobilenet"] = resnet18(network.Shape{3, 40, 32}), mobile(network.Shape{3, 16, 20})
	return all
}
