package sinks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild()
	os.Exit(m.Run())
}

// An index whose vectors are the same is named again, and nothing is read or written for it.
func TestIndexIsKept(t *testing.T) {
	for _, factory := range []string{"Flat", "HNSW16", "IVF16,Flat", "auto"} {
		ns := newNights(t, factory, 1200)
		first := ns.adopt("one", ns.make())
		if first.Origin.How != "built" || first.Origin.Trained != "one" || !strings.Contains(first.Origin.Why, "no earlier index") {
			t.Errorf("%s: the first night's origin is %+v", factory, first.Origin)
		}
		made := ns.make()
		want := first
		want.Origin.How, want.Origin.Why = "kept", "no vector changed"
		if made.Index != want || len(ns.objects.written)+len(ns.objects.read) > 0 || len(made.Files) != 2 {
			t.Errorf("%s: %+v, want %+v; wrote %q, read %q", factory, made.Index, want, ns.objects.written, ns.objects.read)
		}
		ns.adopt("two", made)
		ns.check(made)
	}
}

// Over several nights an index with inverted lists follows its vectors, and says what it did.
func TestIndexIsUpdated(t *testing.T) {
	for factory, nights := range map[string]int{"IVF16,Flat": 3, "IVF16,SQ8": 2, "IVF16,PQ8x4": 2, "OPQ2_8,IVF16,PQ4x4": 1} { // OPQ is slow to train
		t.Run(factory, func(t *testing.T) {
			ns := newNights(t, factory, 1200)
			first := ns.adopt("one", ns.make())
			changed := int64(0)
			for night := range nights {
				ns.change(night, 10)
				ns.change(3, 5)
				changed += 45
				made := ns.make()
				got := made.Index.Origin
				if got.How != "updated" || got.Trained != "one" || got.Changed != changed || got.TrainedImbalance != first.Origin.TrainedImbalance ||
					got.Imbalance < 1 || !strings.HasPrefix(got.Why, "3.8 % of the vectors changed: 15 left, 15 came, 15 were replaced; ") {
					t.Fatalf("night %d: %+v", night, got)
				}
				alone := ns.builder
				alone.Parent = nil
				anew, err := alone.Process(t.Context(), ns.job)
				if err != nil {
					t.Fatal(err)
				}
				if d := made.Index.Recall - anew.Index.Recall; d < -0.05 || d > 0.05 || made.Index.Queries != anew.Index.Queries {
					t.Errorf("night %d: recall %v with %d queries, of a new index %v with %d", night,
						made.Index.Recall, made.Index.Queries, anew.Index.Recall, anew.Index.Queries)
				}
				if again := ns.make(); !slices.Equal(again.Files, made.Files) {
					t.Errorf("night %d: made again it is %s, not %s", night, again.Index.Path, made.Index.Path)
				}
				ns.check(made)
				ns.adopt(fmt.Sprint("night ", night), made)
			}
		})
	}
}

// What did not change is read for the exact search, and not to compare it.
func TestUpdateReadsWhatDiffers(t *testing.T) {
	ns := newNights(t, "IVF16,Flat", 1200)
	ns.adopt("one", ns.make())
	before := ns.job.Files
	ns.change(2, 3)
	clear(ns.shards[1]) // a shard may become empty, and be filled again
	ns.builder.Retrain.Changed = 1
	made := ns.make()
	if made.Index.Origin.How != "updated" {
		t.Fatalf("%+v", made.Index.Origin)
	}
	times := func(path string) (n int) {
		for _, p := range ns.objects.read {
			if p == path {
				n++
			}
		}
		return n
	}
	for shard, want := range [4][2]int{{0, 2}, {1, 2}, {1, 2}, {0, 2}} {
		old, now := before[shard].Path, ns.job.Files[shard].Path
		if got := times(old); old != now && got != want[0] {
			t.Errorf("last night's shard %d is read %d times, want %d", shard, got, want[0])
		}
		if got := times(now); got != want[1] {
			t.Errorf("tonight's shard %d is read %d times, want %d", shard, got, want[1])
		}
	}
	ns.check(made)
	ns.adopt("two", made)
	for range 50 {
		ns.add(1, ns.vector())
	}
	made = ns.make()
	if !strings.Contains(made.Index.Origin.Why, "0 left, 50 came, 0 were replaced") {
		t.Errorf("%+v", made.Index.Origin)
	}
	ns.check(made)
}

// Each cause of its own makes the index be built anew, and the origin says which.
func TestIndexIsBuiltAnew(t *testing.T) {
	small := func(ns *nights) { ns.change(0, 3) }
	for name, c := range map[string]struct {
		factory string
		spoil   func(ns *nights)
		why     string
	}{
		"the task is new":    {"IVF16,Flat", func(ns *nights) { ns.builder.Parent.Tasks[0].Name = "style" }, "the task is new"},
		"another type":       {"IVF16,Flat", func(ns *nights) { ns.job.Factory = "IVF16,SQ8" }, "the index type is IVF16,SQ8, it was IVF16,Flat"},
		"another auto":       {"Flat", func(ns *nights) { ns.job.Factory, ns.builder.Memory = "HNSW8", 1 }, "it was IDMap2,Flat"},
		"another metric":     {"IVF16,Flat", func(ns *nights) { onUnitSphere(ns) }, "compared by cosine"},
		"another network":    {"IVF16,Flat", func(ns *nights) { small(ns); ns.job.Digest = "d2" }, "network changed"},
		"a graph":            {"HNSW16", small, "IDMap2,HNSW16 cannot be updated"},
		"a flat index":       {"Flat", small, "IDMap2,Flat cannot be updated"},
		"many changes":       {"IVF16,Flat", func(ns *nights) { ns.change(0, 100); ns.change(1, 30) }, "32.5 % of the vectors changed since training in snapshot one, more than retrain.changed = 30.0 %"},
		"changes add up":     {"IVF16,Flat", func(ns *nights) { small(ns); ns.builder.Parent.Tasks[0].Index.Origin.Changed = 352 }, "30.1 % of the vectors changed since training"},
		"imbalance":          {"IVF16,Flat", crowd, "lists' imbalance is"},
		"recall":             {"IVF16,SQ8", widen, "less than recall.target = 0.900 and than the"},
		"a damaged index":    {"IVF16,Flat", func(ns *nights) { small(ns); ns.damage(ns.parentFile(Index, 0).Path) }, "last night's index cannot be used: damaged"},
		"a missing index":    {"IVF16,Flat", func(ns *nights) { _ = ns.objects.Delete(ns.t.Context(), ns.parentFile(Index, 0).Path) }, "missing or not as long"},
		"missing infos":      {"Flat", func(ns *nights) { ns.damage(ns.parentFile(IndexInfos, 0).Path) }, "missing or not as long"},
		"damaged vectors":    {"IVF16,Flat", func(ns *nights) { small(ns); ns.damage(ns.parentFile(Embedding, 0).Path) }, "last night's vectors cannot be used: damaged"},
		"not FAISS's":        {"IVF16,Flat", func(ns *nights) { small(ns); ns.swapIndex([]byte("not an index")) }, "last night's index cannot be read"},
		"another's index":    {"IVF16,Flat", strangeIndex, "is not of last night's vectors"},
		"an unknown origin":  {"IVF16,Flat", func(ns *nights) { small(ns); ns.builder.Parent.Tasks[0].Index.Origin = Origin{} }, "does not say how its index came about"},
		"other wishes, flat": {"Flat", func(ns *nights) { ns.builder.Target = 0.95 }, "cannot be updated"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newNights(t, c.factory, 1200)
			ns.adopt("one", ns.make())
			c.spoil(ns)
			made := ns.make()
			if o := made.Index.Origin; o.How != "built" || !strings.Contains(o.Why, c.why) || o.Changed != 0 {
				t.Errorf("it was %s because %q, want something about %q", o.How, o.Why, c.why)
			}
			if got := ns.adopt("two", made); got.Origin.Trained != "two" {
				t.Errorf("trained on %q", got.Origin.Trained)
			}
			ns.check(made)
		})
	}
}

// onUnitSphere makes the task one that compares by cosine.
func onUnitSphere(ns *nights) {
	ns.job.Task.Metric, ns.job.Task.Normalized = pipeline.Cosine, true
	for _, shard := range ns.shards {
		for _, v := range shard {
			sum := float32(0)
			for _, x := range v {
				sum += x * x
			}
			for i := range v {
				v[i] /= float32(math.Sqrt(float64(sum)))
			}
		}
	}
}

// crowd fills one list: many vectors that are nearly the same.
func crowd(ns *nights) {
	ns.builder.Retrain.Imbalance = 1.1
	for range 300 {
		ns.add(2, ns.normal(ns.centres[0], 0.001))
	}
}

// widen scales all vectors out of the range that the codes were trained for.
func widen(ns *nights) {
	ns.builder.Retrain = Retrain{Changed: 1, Imbalance: 100}
	for _, shard := range ns.shards {
		for id := range shard {
			shard[id] = ns.normal(nil, 20)
		}
	}
}

// swapIndex puts other bytes where the parent's index is, and lets the manifest agree.
func (ns *nights) swapIndex(data []byte) {
	f := ns.parentFile(Index, 0)
	if _, err := put(ns.t.Context(), ns.objects, f.Path, data, store.Condition{}); err != nil {
		ns.t.Fatal(err)
	}
	f.Bytes, f.SHA256 = int64(len(data)), hexDigest(data)
}

// strangeIndex swaps the parent's index with one of other vectors.
func strangeIndex(ns *nights) {
	other := newNights(ns.t, "IVF16,Flat", 1100)
	data, err := readFile(ns.t.Context(), other.objects, other.make().Files[0])
	if err != nil {
		ns.t.Fatal(err)
	}
	ns.swapIndex(data)
	ns.change(0, 3)
}

// With other wishes alone the index is measured again, without changing what it holds.
func TestIndexIsMeasuredAgain(t *testing.T) {
	ns := newNights(t, "IVF16,Flat", 1200)
	ns.adopt("one", ns.make())
	ns.builder.Queries, ns.builder.Target = 60, 0.97
	made := ns.make()
	if o := made.Index.Origin; o.How != "updated" || o.Changed != 0 || made.Index.Queries > 90 || made.Index.Asked.Target != 0.97 {
		t.Errorf("%+v", made.Index)
	}
	ns.check(made)
}

// A store that is down is an error, not a reason to build anew; so is damage to tonight's files.
func TestUpdateStopsOnErrors(t *testing.T) {
	ns := newNights(t, "IVF16,Flat", 1200)
	ns.adopt("one", ns.make())
	ns.change(0, 3)
	ns.store()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ns.builder.Process(ctx, ns.job); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, it says %v", err)
	}
	ns.damage(ns.job.Files[0].Path)
	if _, err := ns.builder.Process(t.Context(), ns.job); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a damaged file of tonight it says %v", err)
	}
}

// The digest of the inputs is the same for the same inputs, and another with anything that matters.
func TestIndexInputs(t *testing.T) {
	ns := newNights(t, "IVF16,Flat", 1200)
	ns.adopt("one", ns.make())
	seen := map[string]string{}
	note := func(what string) {
		t.Helper()
		digest, err := ns.builder.Inputs(ns.job)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := seen[digest]; ok {
			t.Errorf("%s has the inputs of %s", what, was)
		}
		seen[digest] = what
	}
	note("the first")
	for what, change := range map[string]func(){
		"other wishes":   func() { ns.builder.Target = 0.8 },
		"other limits":   func() { ns.builder.Retrain.Changed = 0.2 },
		"another type":   func() { ns.job.Factory = "IVF16,SQ8" },
		"another digest": func() { ns.job.Digest = "d2" },
		"other vectors":  func() { ns.change(0, 1); ns.store() },
		"no parent":      func() { ns.builder.Parent = nil },
	} {
		change()
		note(what)
	}
	ns.builder.Dir = t.TempDir()
	digest, err := ns.builder.Inputs(ns.job)
	if err != nil || seen[digest] == "" {
		t.Errorf("another scratch folder gives other inputs (%v)", err)
	}
}
