package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/modulation/metrics"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/pipeline"
)

// tiny is images whose mean colour is the class of task "colour" and whose brighter half that of
// "half"; some labels are missing.
func tiny(t testing.TB, n int) (*Images, *Labels, []int32) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 5))
	im := &Images{Shape: network.Shape{3, 16, 16}, Std: [3]float32{1, 1, 1}, Mean: [3]float32{.5, .5, .5}}
	l := &Labels{Tasks: []string{"colour", "half"}, Classes: make([][]int32, 2)}
	var list []int32
	for i := range n {
		colour, half := int32(rng.IntN(3)), int32(rng.IntN(2))
		for y := range 16 {
			for range 16 {
				for c := range 3 {
					v := rng.IntN(60)
					if int32(c) == colour {
						v += 90
					}
					if (y < 8) == (half == 0) {
						v += 90
					}
					im.Pixels = append(im.Pixels, byte(v))
				}
			}
		}
		if i%7 == 3 {
			half = Missing
		}
		l.Classes[0], l.Classes[1] = append(l.Classes[0], colour), append(l.Classes[1], half)
		list = append(list, int32(i))
	}
	return im, l, list
}

func tinyNet(t testing.TB, m zoo.Method) (*network.Network, *network.Params) {
	t.Helper()
	o := zoo.Options{Image: network.Shape{3, 16, 16}, Dim: 8, Widths: []int{8, 8, 8, 8, 8}}
	b, err := zoo.New(zoo.Small, o)
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.Apply(m, []string{"colour", "half"}, o.Image)
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.NewParams(rand.New(rand.NewPCG(9, 9)))
	if err != nil {
		t.Fatal(err)
	}
	return n, p
}

func tinyRecipe(steps int) Recipe {
	r := Paper(steps)
	r.Loss, r.Compliance = SemiHard, 2
	r.Batch = Batching{Rows: 12, Group: 3, Balance: 1}
	r.Optimizer, r.Schedule = Optimizer{Kind: Adam}, Schedule{Kind: Cosine, Rate: 0.01}
	r.Augment = Augment{Flip: true, Shift: 1}
	return r
}

func newTiny(t testing.TB, m zoo.Method, r Recipe) *Trainer {
	t.Helper()
	im, l, list := tiny(t, 60)
	net, params := tinyNet(t, m)
	s, err := NewLabelled(l, list, r.Loss, r.Batch)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(net, params, Dataset{Images: im, Labels: l, Sampler: s, Digest: "tiny"}, r, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func steps(t *testing.T, tr *Trainer, n int) {
	t.Helper()
	for range n {
		if _, err := tr.Step(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLearns trains both losses, batches apart and common, and wants tasks told apart.
func TestLearns(t *testing.T) {
	common, triplets, sgd := tinyRecipe(60), tinyRecipe(60), tinyRecipe(60)
	common.Batch.Common = true
	triplets.Loss = Triplet
	sgd.Optimizer = Optimizer{Kind: SGD, Momentum: 0.9, Decay: 1e-4}
	sgd.Schedule = Schedule{Kind: Cosine, Rate: 0.1, Warmup: 0.1}
	adagrad := tinyRecipe(60)
	adagrad.Optimizer, adagrad.Schedule = Optimizer{Kind: Adagrad, Scales: 3}, Schedule{Kind: Step, Rate: 0.02, Every: 0.4, Factor: 0.1}
	for name, r := range map[string]Recipe{"apart": tinyRecipe(60), "common": common, "triplets": triplets, "sgd": sgd, "adagrad": adagrad} {
		t.Run(name, func(t *testing.T) {
			tr := newTiny(t, zoo.Modulation, r)
			steps(t, tr, 60)
			for task, acc := range accuracies(t, tr) {
				if acc < 0.7 {
					t.Errorf("task %d: triplet accuracy %.3f", task, acc)
				}
			}
		})
	}
}

func accuracies(t *testing.T, tr *Trainer) []float64 {
	t.Helper()
	_, l, list := tiny(t, 60)
	rows := make([]int, len(list))
	for i := range rows {
		rows[i] = i
	}
	e, err := NewEmbedder(tr.net, tr.Averaged(), tr.data.Images, 16, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	vectors, err := e.Embed(list)
	if err != nil {
		t.Fatal(err)
	}
	var acc []float64
	for task, v := range vectors {
		triplets, err := metrics.DrawTriplets(l.Classes[task], rows, 200, 1)
		if err != nil {
			t.Fatal(err)
		}
		acc = append(acc, metrics.TripletAccuracy(metrics.Space{Dim: 8, Metric: pipeline.Cosine, Data: v}, triplets))
	}
	return acc
}

// TestEveryMethodTrains takes a few steps by every method, in both kinds of batches.
func TestEveryMethodTrains(t *testing.T) {
	for _, m := range zoo.Methods {
		for _, common := range []bool{false, true} {
			r := tinyRecipe(3)
			r.Batch.Common = common
			tr := newTiny(t, m, r)
			before := Digest(tr.Params())
			steps(t, tr, 3)
			if Digest(tr.Params()) == before {
				t.Errorf("%s: nothing was trained", m)
			}
			if layers := len(tr.Compliance().Layers); (m == zoo.Independent) != (layers == 0) {
				t.Errorf("%s: update compliance of %d layers", m, layers)
			}
		}
	}
}

// TestResume goes on from an encoded state and ends with the same bits as a run that never stopped.
func TestResume(t *testing.T) {
	r := tinyRecipe(8)
	whole := newTiny(t, zoo.Modulation, r)
	steps(t, whole, 5)
	state, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	steps(t, whole, 3)
	resumed := newTiny(t, zoo.Modulation, r)
	steps(t, resumed, 1) // what it has done so far must not matter
	if err := resumed.Restore(state); err != nil {
		t.Fatal(err)
	}
	if again, err := resumed.Encode(); err != nil || !slices.Equal(again, state) {
		t.Fatalf("a restored state encodes to other bytes (%v)", err)
	}
	steps(t, resumed, 3)
	a, errA := whole.Encode()
	b, errB := resumed.Encode()
	if errA != nil || errB != nil || !slices.Equal(a, b) {
		t.Errorf("the resumed run differs (%v, %v)", errA, errB)
	}
	if run, step, err := ReadRun(b); err != nil || step != 8 || run.Recipe != r {
		t.Errorf("run %+v at step %d, %v", run, step, err)
	}
}

// TestSeed runs twice with one seed and once with another.
func TestSeed(t *testing.T) {
	r := tinyRecipe(4)
	var digests []string
	for _, seed := range []uint64{1, 1, 2} {
		r.Seed = seed
		tr := newTiny(t, zoo.Modulation, r)
		steps(t, tr, 4)
		digests = append(digests, Digest(tr.Params()))
	}
	if digests[0] != digests[1] || digests[0] == digests[2] {
		t.Errorf("weights of seeds 1, 1, 2: %.8s", digests)
	}
}

func TestRestoreRefuses(t *testing.T) {
	r := tinyRecipe(4)
	tr := newTiny(t, zoo.Modulation, r)
	steps(t, tr, 2)
	state, err := tr.Encode()
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(state)
	flipped[len(flipped)/2] ^= 1
	other := r
	other.Seed = 7
	for name, c := range map[string]struct {
		into  *Trainer
		state []byte
		want  string
	}{
		"nothing":        {tr, nil, "none"},
		"cut":            {tr, state[:len(state)-9], "digest"},
		"a bit":          {tr, flipped, "digest"},
		"another recipe": {newTiny(t, zoo.Modulation, other), state, "recipe"},
		"another method": {newTiny(t, zoo.CSN, r), state, "network"},
		"no step":        {tr, reseal(state, `"step":2`, `"step":3`), "step 3 of 4"},
		"huge header":    {tr, reseal(state, string(state[len(stateMagic):len(stateMagic)+8]), "\xff\xff\xff\xff\xff\xff\xff\x7f"), "longer"},
		"no compliance":  {tr, reseal(state, `"compliance":{`, `"compliance":{"layers":[],"x":{`), "header"},
	} {
		before, _ := c.into.Encode()
		if err := c.into.Restore(c.state); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something about %q", name, err, c.want)
		}
		if after, _ := c.into.Encode(); !slices.Equal(before, after) {
			t.Errorf("%s: the trainer has changed", name)
		}
	}
}

// reseal replaces a part of a state and mends its digest, as someone hostile would.
func reseal(state []byte, old, with string) []byte {
	b := bytes.Replace(state[:len(state)-sha256.Size], []byte(old), []byte(with), 1)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// FuzzRestore wants an error or a state, and no panic, from whatever has a right digest.
func FuzzRestore(f *testing.F) {
	tr := newTiny(f, zoo.Modulation, tinyRecipe(2))
	state, err := tr.Encode()
	if err != nil {
		f.Fatal(err)
	}
	head := len(stateMagic) + 8
	end := head + int(binary.LittleEndian.Uint64(state[len(stateMagic):]))
	f.Add(state[head:end], 0)
	f.Add([]byte(`{"step":1,"compliance":null,"curve":[{}]}`), 3)
	f.Fuzz(func(t *testing.T, header []byte, cut int) {
		b := append([]byte(stateMagic), binary.LittleEndian.AppendUint64(nil, uint64(len(header)))...)
		b = append(b, header...)
		values := state[end : len(state)-sha256.Size]
		b = append(b, values[:max(0, len(values)-max(cut, 0))]...)
		sum := sha256.Sum256(b)
		if err := tr.Restore(append(b, sum[:]...)); err != nil && !errors.Is(err, ErrState) {
			t.Errorf("%v is no ErrState", err)
		}
	})
}

func TestStepsEnd(t *testing.T) {
	tr := newTiny(t, zoo.FullyShared, tinyRecipe(1))
	steps(t, tr, 1)
	if _, err := tr.Step(); err == nil {
		t.Error("a second step of one is taken")
	}
}

// TestCompliance counts agreement of gradients whose agreement is known.
func TestCompliance(t *testing.T) {
	dot, share := agreement([]float32{1, -2, 0, 3}, []float32{2, 1, 5, 1})
	if dot != 3 || math.Abs(share-2.0/3) > 1e-12 {
		t.Errorf("⟨a,b⟩ = %v, %v of signs agree; want 3 and 2/3", dot, share)
	}
	r := tinyRecipe(4)
	tr := newTiny(t, zoo.Modulation, r)
	steps(t, tr, 4)
	c := tr.Compliance()
	if c.Batches != 2 {
		t.Errorf("%d batches counted, want 2", c.Batches)
	}
	for l := range c.Layers {
		if b, s := c.Ratio(l, 0, 1); b < 0 || b > 1 || s <= 0 || s >= 1 {
			t.Errorf("layer %s: %v of batches, %v of signs", c.Layers[l], b, s)
		}
	}
	if Pair(0, 1) != 0 || Pair(0, 2) != 1 || Pair(1, 2) != 2 || Pair(0, 3) != 3 {
		t.Error("pairs are not counted up")
	}
}
