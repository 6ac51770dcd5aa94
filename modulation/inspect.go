package modulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
)

// Inspection is what `facet model inspect` tells of a model.
type Inspection struct {
	Digest    Digest `json:"digest"` // of the file
	Bytes     int    `json:"bytes"`
	Opset     int64  `json:"opset"`
	IRVersion int64  `json:"ir_version"`
	Producer  string `json:"producer"`

	Input            Value               `json:"input"`
	Preprocess       pipeline.Preprocess `json:"preprocess"`
	PreprocessDigest Digest              `json:"preprocess_digest"`

	Tasks     []TaskInspection `json:"tasks"`
	Cost      Cost             `json:"cost"`              // of one pass for all tasks
	Shared    Cost             `json:"shared"`            // the part of it that two or more tasks need
	Unused    int64            `json:"unused_parameters"` // of initialisers that no task needs
	Operators map[string]int   `json:"operators"`         // how many nodes of each
}

// Value is a tensor's name and declared shape.
type Value struct {
	Name  string `json:"name"`
	Shape string `json:"shape"`
}

// TaskInspection is a task's part of an Inspection.
type TaskInspection struct {
	pipeline.Task
	Digest Digest `json:"digest"`
	Cost   Cost   `json:"cost"` // of a pass for this task alone
	Own    Cost   `json:"own"`  // the part of it that no other task needs
	Sites  []Site `json:"sites,omitempty"`
}

// Cost is a number of weights and of multiply-accumulates an image.
type Cost struct {
	Parameters int64  `json:"parameters"`
	MACs       *int64 `json:"macs"`                   // nil when not known
	Unknown    string `json:"macs_unknown,omitempty"` // why MACs is nil
}

func newCost(c graph.Cost) Cost {
	if c.Unknown != "" {
		return Cost{Parameters: c.Parameters, Unknown: c.Unknown}
	}
	return Cost{Parameters: c.Parameters, MACs: &c.MACs}
}

// Inspect gathers what there is to tell of the model.
func (m *Model) Inspect() Inspection {
	p := m.graph.Model
	opset, _ := p.Opset(onnx.DefaultDomain)
	in := Inspection{
		Digest: m.Digests.File, Bytes: m.bytes, Opset: opset, IRVersion: p.GetIrVersion(),
		Producer:         strings.TrimSpace(p.GetProducerName() + " " + p.GetProducerVersion()),
		Input:            Value{m.Input, declared(m.graph.Inputs()[0])},
		Preprocess:       m.Preprocess,
		PreprocessDigest: m.Digests.Preprocess,
		Operators:        make(map[string]int),
	}
	for _, n := range p.GetGraph().GetNode() {
		in.Operators[n.GetOpType()]++
	}
	outputs := make([]string, len(m.Tasks))
	for i, t := range m.Tasks {
		outputs[i] = t.Output
	}
	costs := m.graph.Cost(outputs, m.shapes(1))
	in.Cost, in.Shared, in.Unused = newCost(costs.All), newCost(costs.Shared), costs.Unused
	sites, err := m.Sites()
	if err != nil {
		sites = nil // the graph is beyond what can be rewritten
	}
	for i, t := range m.Tasks {
		in.Tasks = append(in.Tasks, TaskInspection{t, m.Digests.Tasks[i], newCost(costs.Each[i]), newCost(costs.Exclusive[i]), sites[t.Name]})
	}
	return in
}

// String is the inspection for people, one fact a line.
func (in Inspection) String() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{label}, args...)...)
	}
	p := in.Preprocess
	line("file", "%d bytes, sha256 %s", in.Bytes, in.Digest)
	line("format", "ONNX IR %d, opset %d, by %s", in.IRVersion, in.Opset, in.Producer)
	line("input", "%s %s float32", in.Input.Name, in.Input.Shape)
	line("preprocess", "%s to %d×%d%s, %s, %s, orientation %s, digest %s", p.Resize, p.Size[0], p.Size[1], cropText(p), p.Filter,
		p.Channels, p.Orientation, in.PreprocessDigest)
	line("", "(p × %.6g − %v) / %v on background %v", p.Scale, p.Mean, p.Std, p.Background)
	line("all tasks", "%s; of these shared %s", in.Cost, in.Shared)
	if in.Unused > 0 {
		line("unused", "%d parameters", in.Unused)
	}
	for _, t := range in.Tasks {
		line("task", "%s: output %s [N %d], %s%s, digest %s", t.Name, t.Output, t.Dim, t.Metric, unitText(t.Task), t.Digest)
		line("", "%s; its own %s", t.Cost, t.Own)
		if len(t.Sites) > 0 {
			line("", "modulated at %s", sitesText(t.Sites))
		}
	}
	if in.Cost.Unknown != "" {
		line("unknown", "%s", in.Cost.Unknown)
	}
	var ops []string
	for _, op := range slices.Sorted(maps.Keys(in.Operators)) {
		ops = append(ops, fmt.Sprintf("%s×%d", op, in.Operators[op]))
	}
	line("operators", "%s", strings.Join(ops, " "))
	return b.String()
}

func cropText(p pipeline.Preprocess) string {
	if h, w := p.Output(); [2]int{h, w} != p.Size {
		return fmt.Sprintf(", centre %d×%d", h, w)
	}
	return ""
}

// sitesText lists a task's sites and how many of their channels are dead.
func sitesText(sites []Site) string {
	var list []string
	dead, all := 0, 0
	for _, s := range sites {
		dead, all = dead+s.Dead, all+s.Channels
		list = append(list, fmt.Sprintf("%s (%d of %d dead)", s.Tensor, s.Dead, s.Channels))
	}
	if len(list) > 1 && all > 0 {
		list = append(list, fmt.Sprintf("in all %.0f %% dead", 100*float64(dead)/float64(all)))
	}
	return strings.Join(list, ", ")
}

func unitText(t pipeline.Task) string {
	if t.Normalized {
		return ", unit length"
	}
	return ""
}

// String is the cost for people.
func (c Cost) String() string {
	if c.MACs == nil {
		return fmt.Sprintf("%s parameters, unknown MACs", short(c.Parameters))
	}
	return fmt.Sprintf("%s parameters, %s MACs", short(c.Parameters), short(*c.MACs))
}

// short writes a count with three digits and a unit.
func short(n int64) string {
	v := float64(n)
	for _, unit := range []string{"", " k", " M", " G", " T"} {
		if v < 999.5 {
			return fmt.Sprintf("%.3g%s", v, unit)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.3g P", v)
}
