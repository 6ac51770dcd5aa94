//go:build onnxgo

package onnxgo

import (
	"errors"
	"fmt"
	"sync"

	"github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend/x/gorgonnx"
	"gorgonia.org/tensor"

	"github.com/facet-search/facet/stages/engine"
)

// network is a model's file; every image decodes it anew.
type network struct {
	model []byte
	spec  engine.Spec
}

func start(model []byte, spec engine.Spec) (engine.Engine, error) {
	e := &network{model, spec}
	r, err := e.NewRunner(1)
	if err != nil {
		return nil, err
	}
	if err := r.Run(1); err != nil { // what onnx-go cannot build it should say now
		return nil, fmt.Errorf("open model: %w: %w", ErrRefused, err)
	}
	return e, nil
}

// Close has nothing to free.
func (e *network) Close() error { return nil }

// NewRunner allocates tensors for up to batch images.
func (e *network) NewRunner(batch int) (engine.Runner, error) {
	if batch < 1 {
		return nil, fmt.Errorf("runner: a batch of %d images", batch)
	}
	r := &runner{network: e, size: 3 * e.spec.Height * e.spec.Width}
	r.input = make([]float32, batch*r.size)
	r.image = make([]float32, r.size)
	for _, d := range e.spec.Dims {
		r.outputs = append(r.outputs, make([]float32, batch*d))
	}
	return r, nil
}

type runner struct {
	*network
	size    int       // elements of one image
	input   []float32 // the batch
	image   []float32 // a copy of one image, which onnx-go may write into
	outputs [][]float32
	last    int // images of the last run
}

func (r *runner) Input() []float32 { return r.input }

func (r *runner) Output(task int) []float32 { return r.outputs[task][:r.last*r.spec.Dims[task]] }

func (r *runner) Close() error { return nil }

// Run computes image by image: at larger batches onnx-go takes other ways, which rules.go says nothing of.
func (r *runner) Run(n int) error {
	r.last = 0
	if n < 1 || n > len(r.input)/r.size {
		return fmt.Errorf("run: %d images, want 1 to %d", n, len(r.input)/r.size)
	}
	for i := range n {
		copy(r.image, r.input[i*r.size:])
		if err := r.runImage(i); err != nil {
			return fmt.Errorf("run: image %d of %d: %w", i+1, n, err)
		}
	}
	r.last = n
	return nil
}

// runImage turns panics into errors: onnx-go and gorgonia panic on what they did not expect of a file.
func (r *runner) runImage(i int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("onnx-go panicked: %v", p)
		}
	}()
	model, backend, err := r.build()
	if err != nil {
		return err
	}
	if err := backend.Run(); err != nil {
		return err
	}
	for t, name := range r.spec.Outputs {
		v, err := output(model, name)
		if err != nil {
			return err
		}
		dim := r.spec.Dims[t]
		if len(v) != dim {
			return fmt.Errorf("output %q has %d numbers, want %d", name, len(v), dim)
		}
		copy(r.outputs[t][i*dim:], v)
	}
	return nil
}

// building guards a counter that onnx-go keeps in a package variable.
var building sync.Mutex

func (r *runner) build() (*onnx.Model, *gorgonnx.Graph, error) {
	building.Lock()
	defer building.Unlock()
	backend := gorgonnx.NewGraph()
	model := onnx.NewModel(backend)
	if err := model.UnmarshalBinary(r.model); err != nil {
		return nil, nil, err
	}
	node, ok := model.GetNodeByName(r.spec.Input)
	if !ok {
		return nil, nil, fmt.Errorf("onnx-go lost the input %q", r.spec.Input)
	}
	in := tensor.New(tensor.WithShape(1, 3, r.spec.Height, r.spec.Width), tensor.WithBacking(r.image))
	if err := node.(onnx.DataCarrier).SetTensor(in); err != nil {
		return nil, nil, err
	}
	_, err := backend.GetExprGraph()
	return model, backend, err
}

func output(model *onnx.Model, name string) ([]float32, error) {
	node, ok := model.GetNodeByName(name)
	if !ok {
		return nil, fmt.Errorf("onnx-go lost the output %q", name)
	}
	t := node.(onnx.DataCarrier).GetTensor()
	if t == nil {
		return nil, fmt.Errorf("onnx-go did not compute the output %q", name)
	}
	v, ok := t.Data().([]float32)
	if f, scalar := t.Data().(float32); scalar {
		return []float32{f}, nil
	}
	if !ok {
		return nil, errors.New("onnx-go put out something other than float32")
	}
	return v, nil
}
