// Package autodiff compiles a network for one batch size into oneDNN programs: forward, and backward
// in reverse mode.
//
// A training batch holds the same number of images for each task, task after task; a node that is
// PerTask runs once a slice, everything else on the whole batch. An inference batch is one set of
// images for all tasks, and so is a training batch on request: the trunk runs once, and the tail once
// a task.
//
// All memory is allocated when a Plan is compiled and used again by every step. Gradients that are
// done with lend their buffers to later ones.
package autodiff

import (
	"fmt"
	"runtime"

	"github.com/facet-search/facet/modulation/train/dnnl"
	"github.com/facet-search/facet/modulation/train/network"
)

// Fold says whether scales are multiplied into the weights of the layers that read them (a pass over
// the weights for each task) or onto activations (a pass over the activations).
type Fold int

// The choices.
const (
	FoldCheaper Fold = iota // by the amount of memory that either way moves
	FoldNever
	FoldAlways // wherever all readers are convolutions or dense layers
)

// Options of a compilation.
type Options struct {
	Batch   int // training: images of each task; inference, or training with Common: images
	Threads int // OpenMP threads; results are equal bit for bit only at equal numbers, see dnnl.NewEngine
	Fold    Fold
	// Common trains on one set of images for all tasks, as inference has it: the trunk runs once.
	Common bool
	// ImageGradient also computes the gradient with respect to the images.
	ImageGradient bool
}

// Plan is a network compiled for one batch size, bound to one set of parameters. It belongs to one
// goroutine at a time.
type Plan struct {
	net    *network.Network
	params *network.Params
	engine *dnnl.Engine

	images   *dnnl.Memory // [rows, C, H, W], plain
	raw      *dnnl.Memory // the last layer's output [rows', D], plain
	diff     *dnnl.Memory // gradient of raw
	imgDiff  *dnnl.Memory // gradient of images; nil unless asked for
	unit     []float32    // embeddings after Normalize; nil without
	unitDiff []float32

	prepare, forward, backward *dnnl.Program
	values                     []*value
	gradients                  []*gradient
	running                    []*runningStats
	grads                      map[*network.Param][]float32
	slice                      int // rows of a task in raw; tasks share rows where all tasks are one
	shared                     bool
}

// Train compiles the network for training steps of opt.Batch images of each task. The plan reads the
// parameters at every Forward and updates running statistics there.
func Train(net *network.Network, params *network.Params, opt Options) (*Plan, error) {
	return compile(net, params, opt, true)
}

// Infer compiles the network for embedding opt.Batch images for all tasks, by running statistics.
func Infer(net *network.Network, params *network.Params, opt Options) (*Plan, error) {
	return compile(net, params, opt, false)
}

// Close frees the plan's memory; slices that it handed out are void afterwards.
func (p *Plan) Close() { p.engine.Close() }

// Bytes is the memory that the plan holds.
func (p *Plan) Bytes() int { return p.engine.Held() }

// Images are the plan's input [rows, C, H, W], to be filled before Forward: task after task in
// training.
func (p *Plan) Images() []float32 { return p.images.Floats() }

// Embeddings are the outputs [n, D] of one task, valid until the next Forward.
func (p *Plan) Embeddings(task int) []float32 {
	if p.unit != nil {
		return p.of(task, p.unit)
	}
	return p.of(task, p.raw.Floats())
}

// Diff is the gradient of the loss with respect to Embeddings(task), to be filled before Backward. Where
// tasks share their embeddings they share their Diff, too.
func (p *Plan) Diff(task int) []float32 {
	if p.unit != nil {
		return p.of(task, p.unitDiff)
	}
	return p.of(task, p.diff.Floats())
}

func (p *Plan) of(task int, rows []float32) []float32 {
	if p.shared {
		return rows
	}
	n := p.slice * p.raw.Dims()[1]
	return rows[task*n : (task+1)*n]
}

// ImageDiff is the gradient with respect to the images after Backward; nil unless asked for.
func (p *Plan) ImageDiff() []float32 {
	if p.imgDiff == nil {
		return nil
	}
	return p.imgDiff.Floats()
}

// Grad is the gradient with respect to a parameter after Backward; nil for frozen parameters. The
// slice stays the same from step to step.
func (p *Plan) Grad(param *network.Param) []float32 { return p.grads[param] }

// Forward computes the embeddings of the images.
func (p *Plan) Forward() error {
	runtime.LockOSThread() // one OpenMP team for all programs of the step
	defer runtime.UnlockOSThread()
	for _, v := range p.values {
		v.load()
	}
	for _, prog := range []*dnnl.Program{p.prepare, p.forward} {
		if err := prog.Run(); err != nil {
			return fmt.Errorf("forward: %w", err)
		}
	}
	for _, r := range p.running {
		r.update()
	}
	if p.unit != nil {
		Normalize(p.unit, p.raw.Floats(), p.raw.Dims()[1])
	}
	return nil
}

// Backward computes the gradients of all parameters from Diff. It may be called again, with another
// Diff, before the next Forward.
func (p *Plan) Backward() error {
	if p.unit != nil {
		NormalizeBackward(p.diff.Floats(), p.raw.Floats(), p.unit, p.unitDiff, p.raw.Dims()[1])
	}
	if err := p.backward.Run(); err != nil {
		return fmt.Errorf("backward: %w", err)
	}
	for _, g := range p.grads {
		clear(g)
	}
	for _, g := range p.gradients {
		g.collect(p.grads)
	}
	return nil
}
