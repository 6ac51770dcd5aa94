package weave

import (
	"fmt"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Site is a tensor [N, C, …] at which modulation can sit.
type Site struct {
	Rule          string // what names it beside its own name
	Tensor        string
	Channels      int
	Height, Width int // 1 for vectors
}

// String is the site for people.
func (s Site) String() string {
	return fmt.Sprintf("%s = %q [%d %d %d]", s.Rule, s.Tensor, s.Channels, s.Height, s.Width)
}

// The rules that name sites. A stage is the part of the trunk that works at one resolution; stages are
// counted from the input on, and auto:stageN is the last tensor of stage N, one through which all of the
// network's computation passes: there is one way on from it, and it has been activated and added up.
// auto:last is the last stage's, auto:embedding the vector that the normalisation is given, or the
// output where there is none.
const (
	stageRule     = "auto:stage"
	LastRule      = "auto:last"
	EmbeddingRule = "auto:embedding"
)

// Sites lists what the rules find on the way to an output of the model.
func Sites(m *onnx.ModelProto, input graph.Shape, output string) ([]Site, error) {
	d, err := newDraft(m, input)
	if err != nil {
		return nil, fmt.Errorf("find sites: %w", err)
	}
	d.simplify()
	return d.sites(output)
}

func (d *draft) sites(output string) ([]Site, error) {
	if d.made[output] == nil {
		return nil, fmt.Errorf("find sites: no node yields %q", output)
	}
	var list []Site
	for _, t := range d.cuts(output) {
		s := d.shapes[t]
		if len(s) != 4 || s[2]*s[3] <= 1 {
			continue
		}
		site := Site{Tensor: t, Channels: int(s[1]), Height: int(s[2]), Width: int(s[3])}
		if k := len(list); k > 0 && list[k-1].Height == site.Height && list[k-1].Width == site.Width {
			list[k-1] = site
		} else {
			list = append(list, site)
		}
	}
	for k := range list {
		list[k].Rule = fmt.Sprintf("%s%d", stageRule, k+1)
	}
	embedding, err := d.embedding(output)
	if err != nil {
		return nil, fmt.Errorf("find sites: %w", err)
	}
	if s := d.shapes[embedding]; len(s) == 2 {
		list = append(list, Site{EmbeddingRule, embedding, int(s[1]), 1, 1})
	}
	return list, nil
}

// cuts are the tensors through which every way from the images to the output leads, in order. In any
// order in which nodes can run, such a tensor is the only one that is both there and still to be read.
func (d *draft) cuts(output string) []string {
	fed, left := map[string]bool{}, map[string]int{}
	nodes := d.between(output, fed)
	for _, n := range nodes {
		for _, in := range n.GetInput() {
			if fed[in] {
				left[in]++
			}
		}
	}
	left[output]++
	var list []string
	open := 1 // the images
	for _, n := range nodes {
		for _, in := range n.GetInput() {
			if !fed[in] {
				continue
			}
			if left[in]--; left[in] == 0 {
				open--
			}
		}
		for _, t := range n.GetOutput() {
			if left[t] > 0 {
				open++
			}
		}
		if open == 1 && left[out(n)] > 0 {
			list = append(list, out(n))
		}
	}
	return list
}

// between are the nodes that the images feed and the output needs, in order; fed becomes the tensors
// with the images' data. A tensor's shape is none of them.
func (d *draft) between(output string, fed map[string]bool) []*onnx.NodeProto {
	need := map[string]bool{output: true}
	all := d.sorted()
	for _, n := range slices.Backward(all) {
		if slices.ContainsFunc(n.GetOutput(), func(t string) bool { return need[t] }) && !is(n, "Shape") {
			for _, in := range n.GetInput() {
				need[in] = true
			}
		}
	}
	for _, v := range d.model.GetGraph().GetInput() {
		fed[v.GetName()] = d.weights[v.GetName()] == nil
	}
	return slices.DeleteFunc(all, func(n *onnx.NodeProto) bool {
		feeds := !is(n, "Shape") && slices.ContainsFunc(n.GetInput(), func(t string) bool { return fed[t] }) &&
			slices.ContainsFunc(n.GetOutput(), func(t string) bool { return need[t] })
		for _, t := range n.GetOutput() {
			fed[t] = fed[t] || feeds && need[t]
		}
		return !feeds
	})
}

// embedding is what the output's normalisation is given, or the output itself.
func (d *draft) embedding(output string) (string, error) {
	m, err := d.finish()
	if err != nil {
		return "", err
	}
	g, err := graph.New(m)
	if err != nil {
		return "", err
	}
	shapes := g.Infer(map[string]graph.Shape{g.Inputs()[0].GetName(): d.input})
	if n := g.Producer(output); n != nil {
		if x, ok := shapes.Unit(n); ok {
			return x, nil
		}
	}
	return output, nil
}

// resolve turns rules and names into sites, in the order of the names.
func (d *draft) resolve(names []string, output string) ([]Site, error) {
	found, err := d.sites(output)
	if err != nil {
		return nil, err
	}
	stages := slices.DeleteFunc(slices.Clone(found), func(s Site) bool { return s.Rule == EmbeddingRule })
	var sites []Site
	for _, name := range names {
		at := slices.IndexFunc(found, func(s Site) bool { return s.Rule == name })
		switch t := d.known(name); {
		case at >= 0:
			sites = append(sites, found[at])
		case name == LastRule && len(stages) > 0:
			sites = append(sites, stages[len(stages)-1])
		case d.made[t] != nil && (len(d.shapes[t]) == 2 || len(d.shapes[t]) == 4):
			s := append(slices.Clone(d.shapes[t]), 1, 1)
			sites = append(sites, Site{name, t, int(s[1]), int(s[2]), int(s[3])})
		default:
			return nil, fmt.Errorf("site %q is neither a rule nor a tensor [N C] or [N C H W] of the graph; there are %s", name, listed(found))
		}
		last := sites[len(sites)-1]
		if slices.ContainsFunc(sites[:len(sites)-1], func(s Site) bool { return s.Tensor == last.Tensor }) {
			return nil, fmt.Errorf("site %q is tensor %q, which is a site already", name, last.Tensor)
		}
	}
	return sites, nil
}

// known follows a tensor's name to the tensor that has taken its place.
func (d *draft) known(name string) string {
	for range maxNodes {
		to, ok := d.alias[name]
		if !ok {
			break
		}
		name = to
	}
	return name
}

func listed(sites []Site) string {
	var list []string
	for _, s := range sites {
		list = append(list, s.String())
	}
	return strings.Join(list, ", ")
}
