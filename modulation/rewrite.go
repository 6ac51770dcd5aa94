package modulation

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/weave"
	"github.com/facet-search/facet/pipeline"
)

// input is the shape of the model's images; the first extent does not count.
func (m *Model) input() graph.Shape {
	h, w := m.Preprocess.Output()
	return graph.Shape{1, 3, int64(h), int64(w)}
}

// Fold is the model with scales and batch norms multiplied into weights: fewer nodes, the same tasks,
// outputs equal up to rounding, other digests. Scales before a layer with more than copies weights that
// tasks share stay as they are; 0 folds all that can be folded.
func Fold(file []byte, copies int) ([]byte, error) {
	return rewrite("fold", file, func(m *Model) (*onnx.ModelProto, error) {
		return weave.Fold(m.graph.Model, weave.Folding{Input: m.input(), Copies: copies, Keep: m.sites.tensors()})
	})
}

// Prune is the model without the channels that are dead for a task, see weave.Prune. It finds more in a
// model that has been folded.
func Prune(file []byte, opt weave.Pruning) ([]byte, error) {
	return rewrite("prune", file, func(m *Model) (*onnx.ModelProto, error) {
		opt.Input = m.input()
		return weave.Prune(m.graph.Model, opt)
	})
}

// rewrite opens a file, states where it is modulated, and rewrites it.
func rewrite(what string, file []byte, do func(*Model) (*onnx.ModelProto, error)) ([]byte, error) {
	m, err := Open(file, Overrides{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	sites, err := m.Sites()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	m.sites = sites
	p, err := do(m)
	if err != nil {
		return nil, err
	}
	p.MetadataProps = cloneMetadata(p.GetMetadataProps())
	if err := SetSites(p, sites); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return onnx.Write(p)
}

// Sites are the model's sites: those that it states, or those that can be seen in a graph that has not
// been folded.
func (m *Model) Sites() (Sites, error) {
	if m.sites != nil {
		return m.sites, nil
	}
	outputs := make([]string, len(m.Tasks))
	for i, t := range m.Tasks {
		outputs[i] = t.Output
	}
	found, err := weave.Scales(m.graph.Model, m.input(), outputs)
	if err != nil {
		return nil, err
	}
	s := Sites{}
	for i, t := range m.Tasks {
		for _, scale := range found[i] {
			s[t.Name] = append(s[t.Name], NewSite(scale.Tensor, scale.Values))
		}
	}
	return s, nil
}

// Weaving says how tasks enter a CNN.
type Weaving struct {
	Output     string                 // tensor that becomes the embedding; "" is the graph's one output
	Sites      []string               // tensors, or rules such as auto:stage4
	Scales     map[string][][]float32 // by task, one vector a site; nil scales nothing
	Preprocess *pipeline.Preprocess   // nil takes what the file says
}

// Weave makes a model of tasks of a CNN: it scales the CNN's channels at the sites for every task, and
// divides embeddings by their length where the CNN does not. See weave.Weave. Nothing is folded.
func Weave(file []byte, w Weaving) ([]byte, error) {
	p, err := onnx.Read(file)
	if err != nil {
		return nil, fmt.Errorf("weave: %w", err)
	}
	m := &Model{}
	if m.graph, err = graph.New(p); err != nil {
		return nil, fmt.Errorf("weave: %w", err)
	}
	if err := m.readPreprocess(Overrides{Preprocess: w.Preprocess}); err != nil {
		return nil, fmt.Errorf("weave: %w", err)
	}
	names := slices.Sorted(maps.Keys(w.Scales))
	var tasks []weave.Task
	for _, name := range names {
		tasks = append(tasks, weave.Task{Name: name, Output: "embedding_" + name, Scales: w.Scales[name]})
	}
	woven, sites, err := weave.Weave(p, weave.Weaving{Input: m.input(), Output: w.Output, Sites: w.Sites, Tasks: tasks, Normalize: true})
	if err != nil {
		return nil, err
	}
	return m.describe(woven, sites, tasks)
}

// describe states the tasks of a woven model.
func (m *Model) describe(woven *onnx.ModelProto, sites []weave.Site, tasks []weave.Task) ([]byte, error) {
	var list []pipeline.Task
	stated := Sites{}
	for i, t := range tasks {
		dims := woven.GetGraph().GetOutput()[i].GetType().GetTensorType().GetShape().GetDim()
		if len(dims) != 2 {
			return nil, fmt.Errorf("weave: output %q is no vector: name a tensor [N D] as the output", t.Output)
		}
		list = append(list, pipeline.Task{Name: t.Name, Output: t.Output, Dim: int(dims[1].GetDimValue()), Metric: pipeline.Cosine, Normalized: true})
		for k, s := range t.Scales {
			stated[t.Name] = append(stated[t.Name], NewSite(sites[k].Tensor, s))
		}
	}
	woven.MetadataProps = cloneMetadata(woven.GetMetadataProps())
	if err := errors.Join(SetMetadata(woven, list, m.Preprocess), SetSites(woven, stated)); err != nil {
		return nil, fmt.Errorf("weave: %w", err)
	}
	return onnx.Write(woven)
}

// FindSites lists what rules name in a CNN, see weave.Sites. Of w, Output and Preprocess count.
func FindSites(file []byte, w Weaving) ([]weave.Site, error) {
	p, err := onnx.Read(file)
	if err != nil {
		return nil, fmt.Errorf("find sites: %w", err)
	}
	m := &Model{}
	if m.graph, err = graph.New(p); err != nil {
		return nil, fmt.Errorf("find sites: %w", err)
	}
	var input graph.Shape // as declared
	if err := m.readPreprocess(Overrides{Preprocess: w.Preprocess}); err == nil {
		input = m.input()
	} else if w.Preprocess != nil {
		return nil, fmt.Errorf("find sites: %w", err)
	}
	output := w.Output
	if output == "" && len(p.GetGraph().GetOutput()) > 0 {
		output = p.GetGraph().GetOutput()[0].GetName()
	}
	return weave.Sites(p, input, output)
}
