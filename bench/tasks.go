package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/engine/ort"
)

const (
	paperSide  = 150    // of the paper's images
	taskBatch  = 8      // images a run
	taskRounds = 5      // of which the cheapest counts
	keepShared = 200000 // weights above which a layer is not copied for a task's scales
)

// taskCounts are the numbers of tasks that are compared with one.
var taskCounts = []int{1, 4, 7, 20, 40}

// tasks measures what tasks cost in ONNX Runtime: the paper's network at its three sites, folded, one
// pass for T tasks against one pass for one, and against T of these. All models are open at once and
// take turns; CPU time counts, which other work on the machine disturbs less than the clock.
func (b *bench) tasks(ctx context.Context) error {
	runners := make([]engine.Runner, len(taskCounts))
	best := make([]time.Duration, len(taskCounts))
	for i, n := range taskCounts {
		r, err := paperRunner(n)
		if err != nil {
			return err
		}
		defer r.Close()
		runners[i], best[i] = r, time.Hour
	}
	for round := range taskRounds + 1 { // the first warms up
		for i, r := range runners {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			start := cpuTime()
			if err := r.Run(taskBatch); err != nil {
				return err
			}
			if round > 0 {
				best[i] = min(best[i], cpuTime()-start)
			}
		}
	}
	fmt.Printf("cost of tasks, the paper's network at %d×%d, batches of %d, one thread:\n", paperSide, paperSide, taskBatch)
	for i, n := range taskCounts {
		one, all := best[0].Seconds(), best[i].Seconds()
		fmt.Printf("  T = %2d: %5.1f images/s of one core, %.2f × the cost of one task, %4.1f × as many as %d passes would give\n",
			n, taskBatch/all, all/one, float64(n)*one/all, n)
	}
	return nil
}

// paperRunner opens the paper's network with scales drawn as training leaves them.
func paperRunner(tasks int) (engine.Runner, error) {
	file, err := paperModel(tasks)
	if err != nil {
		return nil, err
	}
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		return nil, err
	}
	fmt.Printf("  T = %2d: %s, %d KB\n", tasks, m.Inspect().Cost, len(file)/1000)
	spec := engine.Spec{Input: m.Input, Height: paperSide, Width: paperSide}
	for _, t := range m.Tasks {
		spec.Outputs, spec.Dims = append(spec.Outputs, t.Output), append(spec.Dims, t.Dim)
	}
	e, err := ort.Open(file, spec)
	if err != nil {
		return nil, err
	}
	r, err := e.NewRunner(taskBatch)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(2, 2))
	for i := range r.Input() {
		r.Input()[i] = float32(rng.NormFloat64())
	}
	return r, nil
}

func paperModel(tasks int) ([]byte, error) {
	image := network.Shape{3, paperSide, paperSide}
	b, err := zoo.New(zoo.Paper, zoo.Options{Image: image})
	if err != nil {
		return nil, err
	}
	var names []string
	for t := range tasks {
		names = append(names, fmt.Sprintf("task%d", t))
	}
	net, err := b.Apply(zoo.Modulation, names, image)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	params, err := net.NewParams(rng)
	if err != nil {
		return nil, err
	}
	for _, p := range params.List {
		for i := range p.Data {
			if p.Role == network.Scale {
				p.Data[i] = float32(1 + 0.5*rng.NormFloat64())
			}
		}
	}
	m, err := exchange.Export(net, params, exchange.Options{Preprocess: pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{paperSide, paperSide}, Filter: "bilinear", Std: [3]float64{1, 1, 1},
		Scale: 1. / 255, Channels: "rgb", Orientation: "ignore",
	}})
	if err != nil {
		return nil, err
	}
	file, err := onnx.Write(m)
	if err != nil {
		return nil, err
	}
	return modulation.Fold(file, keepShared)
}

// cpuTime is what the process has used of it so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // cannot be on Linux
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
