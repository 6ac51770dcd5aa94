package modulation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/weave"
	"github.com/facet-search/facet/pipeline"
)

// AddTasks adds tasks of another model (all, if none are named) to a model in production. What both
// compute alike, such as the trunk that the new tasks were trained on, is computed once. The bits and
// digests of the model's own tasks stay as they are. Both must prepare images alike.
func AddTasks(file, other []byte, names []string) ([]byte, error) {
	m, err := Open(file, Overrides{})
	if err != nil {
		return nil, fmt.Errorf("add tasks: %w", err)
	}
	if len(names) > 0 {
		if other, err = Cut(other, names); err != nil {
			return nil, fmt.Errorf("add tasks: %w", err)
		}
	}
	from, err := Open(other, Overrides{})
	if err != nil {
		return nil, fmt.Errorf("add tasks of the other model: %w", err)
	}
	if m.Digests.Preprocess != from.Digests.Preprocess {
		return nil, fmt.Errorf("add tasks: the models prepare images differently: %+v and %+v", m.Preprocess, from.Preprocess)
	}
	if err := checkTasks(slices.Concat(m.Tasks, from.Tasks)); err != nil {
		return nil, fmt.Errorf("add tasks: %w", err)
	}
	joined, err := m.join(from, other)
	if err != nil {
		return nil, fmt.Errorf("add tasks: %w", err)
	}
	return m.checked(joined)
}

// join takes the other model as it is or folded, whichever has more in common with m.
func (m *Model) join(from *Model, other []byte) (*onnx.ModelProto, error) {
	sites, err := m.jointSites(from)
	if err != nil {
		return nil, err
	}
	outputs := make([]string, len(from.Tasks))
	for i, t := range from.Tasks {
		outputs[i] = t.Output
	}
	best, shared, err := weave.Join(m.graph.Model, from.graph.Model, outputs)
	if err != nil {
		return nil, err
	}
	if folded, err := Fold(other, 0); err == nil {
		p, err := onnx.Read(folded)
		if err != nil {
			return nil, err
		}
		if j, n, err := weave.Join(m.graph.Model, p, outputs); err == nil && n > shared {
			best, shared = j, n
		}
	}
	if shared == 0 {
		return nil, fmt.Errorf("the models have nothing in common that could be computed once: was the other one trained on this one's trunk " +
			"(train: modulation)?")
	}
	best.MetadataProps = cloneMetadata(best.GetMetadataProps())
	if err := SetMetadata(best, slices.Concat(m.Tasks, from.Tasks), m.Preprocess); err != nil {
		return nil, err
	}
	return best, SetSites(best, sites)
}

func (m *Model) jointSites(from *Model) (Sites, error) {
	all := Sites{}
	for _, model := range []*Model{m, from} {
		s, err := model.Sites()
		if err != nil {
			return nil, err
		}
		maps.Copy(all, s)
	}
	return all, nil
}

// checked writes the model and makes sure that m's tasks are in it as they were.
func (m *Model) checked(p *onnx.ModelProto) ([]byte, error) {
	file, err := onnx.Write(p)
	if err != nil {
		return nil, fmt.Errorf("add tasks: %w", err)
	}
	opened, err := Open(file, Overrides{})
	if err != nil {
		return nil, fmt.Errorf("add tasks: the result: %w", err)
	}
	for i, t := range m.Tasks {
		at := slices.IndexFunc(opened.Tasks, func(o pipeline.Task) bool { return o == t })
		if at < 0 || opened.Digests.Tasks[at] != m.Digests.Tasks[i] {
			return nil, fmt.Errorf("add tasks: task %q would change", t.Name)
		}
	}
	return file, nil
}
