package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
	"strings"

	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/engine/ort"
)

var T int

func paper(side, pad int) *network.Network {
	n := &network.Network{Image: network.Shape{3, side, side}}
	for t := range T {
		n.Tasks = append(n.Tasks, fmt.Sprintf("t%d", t))
	}
	last := network.Input
	add := func(name string, op network.Op, in ...string) string {
		if in == nil {
			in = []string{last}
		}
		_, mod := op.(network.Modulation)
		n.Nodes = append(n.Nodes, network.Node{Name: name, Op: op, Inputs: in, PerTask: mod})
		last = name
		return name
	}
	cr := func(name string, w, pad int) string {
		add(name, network.Conv{Out: w, Window: network.Square(3, 1, pad)})
		add(name+"_bn", network.BatchNorm{})
		return add(name+"_relu", network.ReLU{})
	}
	cr("stem", 32, pad)
	for i, w := range []int{64, 128, 128, 128} {
		nm := fmt.Sprintf("block%d", i+2)
		cr(nm+"_conv1", w, pad)
		pool := add(nm+"_pool", network.MaxPool{Window: network.Square(2, 2, 0)})
		cr(nm+"_conv2", w, 1)
		l := cr(nm+"_conv3", w, 1)
		add(nm, network.Add{}, pool, l)
		if i >= 2 {
			add(nm+"_scale", network.Modulation{})
		}
	}
	add("embedding", network.Dense{Out: 256})
	add("embedding_scale", network.Modulation{})
	add("unit", network.Normalize{})
	return n
}

func main() {
	side := flag.Int("side", 150, "")
	pad := flag.Int("pad", 0, "")
	copies := flag.Int("copies", 0, "")
	ts := flag.String("t", "1,4,7,1", "")
	batch := flag.Int("batch", 8, "")
	fold := flag.Bool("fold", true, "")
	rounds := flag.Int("rounds", 4, "")
	flag.Parse()
	os.Setenv(ort.LibraryEnv, ".deps/onnxruntime/lib/libonnxruntime.so.1")
	type job struct {
		name string
		r    engine.Runner
		best time.Duration
	}
	var jobs []*job
	for _, s := range strings.Split(*ts, ",") {
		fmt.Sscan(s, &T)
		n := paper(*side, *pad)
		rng := rand.New(rand.NewPCG(1, 1))
		ps, err := n.NewParams(rng)
		check(err)
		for _, p := range ps.List {
			if p.Role == network.Scale {
				for i := range p.Data {
					p.Data[i] = float32(0.7 + 0.6*rng.NormFloat64())
				}
			}
		}
		pre := pipeline.Preprocess{Resize: "stretch", Size: [2]int{*side, *side}, Filter: "bilinear", Std: [3]float64{1, 1, 1}, Scale: 1, Channels: "rgb", Orientation: "ignore"}
		m, err := exchange.Export(n, ps, exchange.Options{Preprocess: pre})
		check(err)
		file, err := onnx.Write(m)
		check(err)
		if *fold {
			file, err = modulation.Fold(file, *copies)
			check(err)
		}
		mm, err := modulation.Open(file, modulation.Overrides{})
		check(err)
		in := mm.Inspect()
		fmt.Println(T, len(file), in.Cost, in.Operators)
		spec := engine.Spec{Input: mm.Input, Height: *side, Width: *side}
		for _, t := range mm.Tasks {
			spec.Outputs = append(spec.Outputs, t.Output)
			spec.Dims = append(spec.Dims, t.Dim)
		}
		e, err := ort.Open(file, spec)
		check(err)
		r, err := e.NewRunner(*batch)
		check(err)
		for i := range r.Input() {
			r.Input()[i] = float32(rng.NormFloat64())
		}
		check(r.Run(*batch))
		jobs = append(jobs, &job{s, r, time.Hour})
	}
	for range *rounds {
		for _, j := range jobs {
			s := time.Now()
			check(j.r.Run(*batch))
			j.best = min(j.best, time.Since(s))
		}
	}
	for _, j := range jobs {
		fmt.Printf("T=%s best %.1f ms an image, ratio %.3f\n", j.name, j.best.Seconds()*1000/float64(*batch), j.best.Seconds()/jobs[0].best.Seconds())
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
