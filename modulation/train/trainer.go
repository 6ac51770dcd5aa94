package train

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/facet-search/facet/modulation/train/autodiff"
	"github.com/facet-search/facet/modulation/train/network"
)

// Dataset is what a trainer draws from.
type Dataset struct {
	Images  *Images
	Labels  *Labels // may be nil when Sampler is Lists; its tasks are the network's
	Sampler Sampler
	Digest  string // identifies images, labels and sampler; a state is refused under another one
}

// Trainer trains one network. It belongs to one goroutine at a time.
type Trainer struct {
	net     *network.Network
	recipe  Recipe
	data    Dataset
	params  *network.Params
	average *network.Params // nil without averaging
	memory  [][][]float32   // the optimiser's, a parameter
	source  *rand.PCG
	rng     *rand.Rand
	step    int
	curve   []Point
	ucr     *Compliance // nil without

	plan    *autodiff.Plan
	losses  []*Loss   // a task
	rows    []int32   // images of the batch
	classes [][]int32 // a task: the classes of the rows of its embeddings
	tables  *[3][256]float32
	diffs   [][]float32 // a task: gradient of its loss
}

// Point is one step on the curves.
type Point struct {
	Step int       `json:"step"`
	Rate float64   `json:"rate"`
	Loss []float64 `json:"loss"` // a task
	// Validation is whatever the caller measured after the step, a task; nil where nothing was.
	Validation []float64 `json:"validation,omitempty"`
}

// New prepares a run over threads OpenMP threads. The trainer changes params; Close frees the plan.
func New(net *network.Network, params *network.Params, data Dataset, r Recipe, threads int) (*Trainer, error) {
	if err := errors.Join(r.Check(), net.Check(), data.check(net)); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if r.Loss == SemiHard && data.Labels == nil {
		return nil, errors.New("train: the semi-hard loss mines by labels, and there are only triplets")
	}
	t := &Trainer{net: net, recipe: r, data: data, params: params, tables: data.Images.tables()}
	t.source = rand.NewPCG(r.Seed, 0x9e3779b97f4a7c15)
	t.rng = rand.New(t.source)
	if r.Average > 0 {
		t.average = params.Clone()
	}
	for _, p := range params.List {
		t.memory = append(t.memory, r.Optimizer.memory(p))
	}
	if r.Compliance > 0 && len(net.Tasks) > 1 {
		t.ucr = newCompliance(net, params)
	}
	return t, t.compile(threads)
}

func (d Dataset) check(net *network.Network) error {
	if d.Images == nil || d.Sampler == nil {
		return errors.New("dataset: no images, or no sampler")
	}
	if err := d.Images.check(); err != nil {
		return err
	}
	if d.Images.Shape != net.Image {
		return fmt.Errorf("images of %v for a network of %v", d.Images.Shape, net.Image)
	}
	if d.Labels == nil {
		return nil
	}
	if len(d.Labels.Tasks) != len(net.Tasks) {
		return fmt.Errorf("labels for tasks %v, network for %v", d.Labels.Tasks, net.Tasks)
	}
	for i, task := range net.Tasks {
		if d.Labels.Tasks[i] != task {
			return fmt.Errorf("labels for tasks %v, network for %v", d.Labels.Tasks, net.Tasks)
		}
	}
	return d.Labels.Check(d.Images.Len())
}

// compile makes the plan and the buffers of a batch.
func (t *Trainer) compile(threads int) (err error) {
	tasks, b := len(t.net.Tasks), t.recipe.Batch
	opt := autodiff.Options{Batch: b.Rows, Threads: threads, Common: b.Common}
	if b.Common {
		opt.Batch *= tasks
	}
	if t.plan, err = autodiff.Train(t.net, t.params, opt); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	t.rows = make([]int32, b.Rows*tasks)
	for range tasks {
		t.losses = append(t.losses, &Loss{Kind: t.recipe.Loss, Margin: t.recipe.Margin})
		t.classes = append(t.classes, make([]int32, opt.Batch))
		t.diffs = append(t.diffs, make([]float32, opt.Batch*t.net.Dim()))
	}
	return nil
}

// Close frees the plan's memory.
func (t *Trainer) Close() { t.plan.Close() }

// Steps is how many steps have been taken, and of how many.
func (t *Trainer) Steps() (done, all int) { return t.step, t.recipe.Steps }

// Draws is how many images have been drawn so far.
func (t *Trainer) Draws() int { return t.step * len(t.rows) }

// Params are the parameters as they are being trained.
func (t *Trainer) Params() *network.Params { return t.params }

// Averaged are the averaged parameters, or the trained ones where there is no averaging: what a run
// results in.
func (t *Trainer) Averaged() *network.Params {
	if t.average != nil {
		return t.average
	}
	return t.params
}

// Curve is one point a step.
func (t *Trainer) Curve() []Point { return t.curve }

// Note puts a measurement, one finite number a task, onto the curve's last point.
func (t *Trainer) Note(validation []float64) {
	if n := len(t.curve); n > 0 {
		t.curve[n-1].Validation = validation
	}
}

// Compliance is the count so far; nil where it is not kept.
func (t *Trainer) Compliance() *Compliance { return t.ucr }

// Bytes is the memory of the plan.
func (t *Trainer) Bytes() int { return t.plan.Bytes() }

// Step draws a batch and moves the parameters.
func (t *Trainer) Step() (Point, error) {
	if t.step >= t.recipe.Steps {
		return Point{}, fmt.Errorf("train: all %d steps are done", t.step)
	}
	t.draw()
	if err := t.plan.Forward(); err != nil {
		return Point{}, fmt.Errorf("train: %w", err)
	}
	point := Point{Step: t.step, Rate: t.recipe.Schedule.At(t.step, t.recipe.Steps)}
	for i, l := range t.losses {
		v := l.Compute(t.diffs[i], t.plan.Embeddings(i), t.net.Dim(), t.classes[i], 1/float64(len(t.losses)))
		if !finite(v) {
			return point, fmt.Errorf("train: step %d: the loss of %s is %v; try a lower rate", t.step, t.net.Tasks[i], v)
		}
		point.Loss = append(point.Loss, v)
	}
	if t.ucr != nil && t.step%t.recipe.Compliance == 0 {
		if err := t.count(); err != nil {
			return point, err
		}
	}
	if err := t.backward(func(int) bool { return true }); err != nil {
		return point, err
	}
	t.move(point.Rate)
	t.curve = append(t.curve, point)
	return point, nil
}

// draw fills the plan's images and the classes.
func (t *Trainer) draw() {
	n := t.recipe.Batch.Rows
	for task := range t.net.Tasks {
		t.data.Sampler.Draw(t.rng, task, t.rows[task*n:(task+1)*n])
	}
	size, images := t.net.Image.Size(), t.plan.Images()
	for i, image := range t.rows {
		v := t.recipe.Augment.draw(t.rng)
		t.data.Images.fill(images[i*size:(i+1)*size], int(image), v, t.tables)
	}
	if t.data.Labels == nil {
		return
	}
	for task, classes := range t.classes {
		rows := t.rows
		if !t.recipe.Batch.Common {
			rows = t.rows[task*n : (task+1)*n]
		}
		for i, image := range rows {
			classes[i] = t.data.Labels.Classes[task][image]
		}
	}
}

// backward computes the gradients of the sum of the losses of some tasks.
func (t *Trainer) backward(of func(task int) bool) error {
	for task := range t.diffs {
		clear(t.plan.Diff(task))
	}
	for task, diff := range t.diffs {
		if !of(task) {
			continue
		}
		sum := t.plan.Diff(task) // tasks may share it
		for i, v := range diff {
			sum[i] += v
		}
	}
	if err := t.plan.Backward(); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

func (t *Trainer) move(rate float64) {
	t.step++
	for i, p := range t.params.List {
		if g := t.plan.Grad(p); g != nil {
			t.recipe.Optimizer.update(p, g, t.memory[i], rate, t.step)
		}
	}
	if t.average != nil {
		follow(t.average, t.params, averageDecay(t.recipe.Average, t.step))
	}
}

// count runs the backward pass once a task and compares the gradients.
func (t *Trainer) count() error {
	for task := range t.net.Tasks {
		if err := t.backward(func(i int) bool { return i == task }); err != nil {
			return err
		}
		t.ucr.note(task, t.plan.Grad)
	}
	t.ucr.compare()
	return nil
}
