package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
)

// The step that is measured; train_step.py has the same defaults.
const (
	trainSide  = 64
	trainRows  = 24 // images of each task
	trainSteps = 10
)

// trainStep measures one training step on one core, in processor time, against PyTorch.
func (b *bench) trainStep(ctx context.Context) error {
	ours, parameters, err := trainRate()
	if err != nil {
		return err
	}
	fmt.Printf("train   %6.0f images/s on one core: small network at %d×%d, 4 tasks × %d images, Adagrad, %.2f M parameters\n",
		ours, trainSide, trainSide, trainRows, float64(parameters)/1e6)
	var peer struct {
		Rate       float64 `json:"images_per_second"`
		Torch      string  `json:"torch"`
		Parameters int     `json:"parameters"`
	}
	python := withTorch(ctx)
	if python == "" {
		fmt.Println("        without PyTorch: neither .deps/python nor python3 has torch (apt-get install python3-torch, or pip install torch)")
		return nil
	}
	out, err := exec.CommandContext(ctx, python, "bench/python/train_step.py").Output()
	if err != nil {
		return fmt.Errorf("train_step.py: %w", err)
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &peer); err != nil {
		return fmt.Errorf("train_step.py: %w", err)
	}
	if peer.Parameters != parameters {
		return fmt.Errorf("train_step.py trains %d parameters, not %d", peer.Parameters, parameters)
	}
	fmt.Printf("        %6.0f images/s PyTorch %s; ours ÷ PyTorch %.2f\n", peer.Rate, peer.Torch, ours/peer.Rate)
	return nil
}

// withTorch is a Python that has PyTorch, or "".
func withTorch(ctx context.Context) string {
	for _, p := range []string{".deps/python/bin/python", "python3"} {
		if exec.CommandContext(ctx, p, "-c", "import torch").Run() == nil {
			return p
		}
	}
	return ""
}

// trainRate is the images a second of processor time of the median step, drawing and filling the batch
// included, and the number of parameters.
func trainRate() (rate float64, parameters int, err error) {
	t, err := newTrainer()
	if err != nil {
		return 0, 0, err
	}
	defer t.Close()
	parameters, _ = t.Params().Count()
	var times []time.Duration
	for range trainSteps + 2 {
		begun := processTime()
		if _, err := t.Step(); err != nil {
			return 0, 0, err
		}
		times = append(times, processTime()-begun)
	}
	times = times[2:]
	slices.Sort(times)
	return 4 * trainRows / times[len(times)/2].Seconds(), parameters, nil
}

// newTrainer is the paper's recipe on random images.
func newTrainer() (*train.Trainer, error) {
	const images = 400
	shape := network.Shape{3, trainSide, trainSide}
	im := &train.Images{Shape: shape, Pixels: make([]byte, images*shape.Size()), Std: [3]float32{1, 1, 1}}
	l := &train.Labels{Tasks: []string{"a", "b", "c", "d"}, Classes: make([][]int32, 4)}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range im.Pixels {
		im.Pixels[i] = byte(rng.IntN(256))
	}
	var all []int32
	for i := range images {
		all = append(all, int32(i))
		for t := range l.Classes {
			l.Classes[t] = append(l.Classes[t], int32(rng.IntN(10)))
		}
	}
	b, err := zoo.New(zoo.Small, zoo.Options{Image: shape})
	if err != nil {
		return nil, err
	}
	net, err := b.Apply(zoo.Modulation, l.Tasks, shape)
	if err != nil {
		return nil, err
	}
	params, err := net.NewParams(rng)
	if err != nil {
		return nil, err
	}
	r := train.Paper(trainSteps + 2)
	r.Batch.Rows, r.Average, r.Compliance = trainRows, 0, 0 // the peer has neither
	s, err := train.NewLabelled(l, all, r.Loss, r.Batch)
	if err != nil {
		return nil, err
	}
	return train.New(net, params, train.Dataset{Images: im, Labels: l, Sampler: s}, r, 1)
}

// processTime is the processor time of this process so far, which other programs on the machine change
// little.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		fmt.Fprintln(os.Stderr, "bench: processor time:", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
