// Package network opens a model on the engine that a job names.
package network

import (
	"fmt"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/engine/onnxgo"
	"github.com/facet-search/facet/stages/engine/ort"
)

// Open loads a model's file for some of its tasks.
func Open(name string, file []byte, m *modulation.Model, tasks []pipeline.Task) (engine.Engine, error) {
	spec := engine.Spec{Input: m.Input}
	spec.Height, spec.Width = m.Preprocess.Output()
	for _, t := range tasks {
		spec.Outputs = append(spec.Outputs, t.Output)
		spec.Dims = append(spec.Dims, t.Dim)
	}
	switch name {
	case "onnxruntime":
		return ort.Open(file, spec)
	case "onnx-go":
		return onnxgo.Open(file, spec)
	}
	return nil, fmt.Errorf("%w: engine %q is not known", jobfile.ErrConfig, name)
}
