package autodiff

import (
	"math/rand/v2"
	"testing"

	"github.com/facet-search/facet/modulation/train/network"
)

// TestCommonBatch holds a batch that is common to all tasks against one that repeats its images for
// every task: embeddings and gradients are the same.
func TestCommonBatch(t *testing.T) {
	for name, net := range cases() {
		for fold, suffix := range map[Fold]string{FoldNever: "", FoldAlways: "/folded"} {
			t.Run(name+suffix, func(t *testing.T) { checkCommon(t, net, fold) })
		}
	}
}

func checkCommon(t *testing.T, net *network.Network, fold Fold) {
	const rows = 4
	rng := rand.New(rand.NewPCG(3, 5))
	params, err := net.NewParams(rng)
	if err != nil {
		t.Fatal(err)
	}
	jitter(params, rng)
	images := normal(rng, rows*net.Image.Size())
	apart, common := params.Clone(), params
	wide, err := Train(net, apart, Options{Batch: rows, Threads: 1, Fold: fold})
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	plan, err := Train(net, common, Options{Batch: rows, Threads: 1, Fold: fold, Common: true})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	copy(plan.Images(), images)
	for task := range net.Tasks {
		copy(wide.Images()[task*len(images):], images)
	}
	for _, p := range []*Plan{wide, plan} {
		if err := p.Forward(); err != nil {
			t.Fatal(err)
		}
	}
	for task := range net.Tasks {
		compare(t, "embeddings of "+net.Tasks[task], plan.Embeddings(task), widen(wide.Embeddings(task)), 1e-5)
		diff := normal(rng, len(wide.Diff(task)))
		copy(wide.Diff(task), diff)
		for i, d := range diff {
			plan.Diff(task)[i] += d // tasks may share it
		}
	}
	for _, p := range []*Plan{wide, plan} {
		if err := p.Backward(); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range params.List {
		if g := plan.Grad(p); g != nil {
			compare(t, p.Name, g, widen(wide.Grad(apart.List[i])), 1e-4)
		}
	}
}
