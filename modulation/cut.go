package modulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
)

// Cut is the model file of some of a file's tasks: only the nodes and weights that their outputs need.
// The digests of these tasks stay as they are, so their embeddings remain good. Tasks keep the file's
// order.
func Cut(file []byte, tasks []string) ([]byte, error) {
	m, err := Open(file, Overrides{})
	if err != nil {
		return nil, fmt.Errorf("cut: %w", err)
	}
	kept, err := m.choose(tasks)
	if err != nil {
		return nil, fmt.Errorf("cut: %w", err)
	}
	outputs := make([]string, len(kept))
	for i, t := range kept {
		outputs[i] = t.Output
	}
	p, err := m.graph.Cut(outputs)
	if err != nil {
		return nil, fmt.Errorf("cut: %w", err)
	}
	p.MetadataProps = cloneMetadata(p.GetMetadataProps())
	if err := SetMetadata(p, kept, m.Preprocess); err != nil {
		return nil, fmt.Errorf("cut: %w", err)
	}
	if m.sites != nil {
		maps.DeleteFunc(m.sites, func(task string, _ []Site) bool { return !slices.Contains(tasks, task) })
		if err := SetSites(p, m.sites); err != nil {
			return nil, fmt.Errorf("cut: %w", err)
		}
	}
	return onnx.Write(p)
}

// choose are the model's tasks of these names, in the model's order.
func (m *Model) choose(names []string) ([]pipeline.Task, error) {
	var have []string
	for _, t := range m.Tasks {
		have = append(have, t.Name)
	}
	for _, name := range names {
		if !slices.Contains(have, name) {
			return nil, fmt.Errorf("the model has no task %q; it has %s", name, strings.Join(have, ", "))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no tasks are named; the model has %s", strings.Join(have, ", "))
	}
	return slices.DeleteFunc(slices.Clone(m.Tasks), func(t pipeline.Task) bool { return !slices.Contains(names, t.Name) }), nil
}

// cloneMetadata lets a copy of a model have other metadata than the original.
func cloneMetadata(list []*onnx.StringStringEntryProto) []*onnx.StringStringEntryProto {
	out := make([]*onnx.StringStringEntryProto, len(list))
	for i, e := range list {
		out[i] = onnx.Shallow(e)
	}
	return out
}
