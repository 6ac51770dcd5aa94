package faiss

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/facet-search/facet/pipeline"
)

// orphaned, in the environment, makes the test binary start a child, print its process id and wait
// to be killed.
const orphaned = "FACET_FAISS_TEST_PARENT"

func TestMain(m *testing.M) {
	MaybeChild()
	if os.Getenv(orphaned) != "" {
		b, err := Start(context.Background(), Spec{Task: task("style", 4), Factory: "Flat"})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(b.p.cmd.Process.Pid)
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func task(name string, dim int) pipeline.Task {
	return pipeline.Task{Name: name, Output: name, Dim: dim, Metric: pipeline.Cosine, Normalized: true}
}

// gallery is n unit vectors around 40 centres, with ids that are not their positions. Every 20th is a
// copy of the one before it, as galleries hold them.
func gallery(n, dim int) (ids []int64, vectors []float32) {
	r := rand.New(rand.NewPCG(11, 12))
	centres := make([]float64, 40*dim)
	for i := range centres {
		centres[i] = r.NormFloat64()
	}
	ids, vectors = make([]int64, n), make([]float32, n*dim)
	for i := range n {
		ids[i] = int64(i%3)<<pipeline.ShardShift | int64(i/3)
		v, c := vectors[i*dim:(i+1)*dim], centres[r.IntN(40)*dim:]
		if i%20 == 19 {
			copy(v, vectors[(i-1)*dim:])
			continue
		}
		square := 0.0
		for j := range v {
			x := c[j] + 0.8*r.NormFloat64()
			v[j], square = float32(x), square+x*x
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(square))
		}
	}
	return ids, vectors
}

// recipe is how a test builds an index.
type recipe struct {
	spec  Spec
	hold  int
	batch int
}

// build makes the index of a gallery the way a job does.
func (r recipe) build(t testing.TB, path string, ids []int64, vectors []float32) (Report, Stats) {
	t.Helper()
	dim := r.spec.Task.Dim
	factory, err := Resolve(r.spec.Factory)
	must(t, err)
	r.spec.Factory = factory
	train := 0
	if r.spec.Trained == "" {
		train, err = TrainSize(factory, len(ids)-min(r.hold, len(ids)/10))
		must(t, err)
	}
	r.spec.Train = train
	b, err := Start(t.Context(), r.spec)
	must(t, err)
	defer func() { must(t, b.Close()) }()

	split := NewSplit(len(ids), r.hold, train)
	parts := map[string]func(ids []int64, v []float32) error{
		"train": func(_ []int64, v []float32) error { return b.Sample(v) },
		"hold":  b.HoldOut,
		"add":   b.Add,
	}
	pass := func(part string, in func(id int64) bool) {
		var some []int64
		var v []float32
		for i, id := range ids {
			if in(id) {
				some, v = append(some, id), append(v, vectors[i*dim:(i+1)*dim]...)
			}
			if len(some) == max(r.batch, 1) || i == len(ids)-1 {
				must(t, parts[part](some, v))
				some, v = some[:0], v[:0]
			}
		}
	}
	if train > 0 {
		pass("train", split.Sampled)
		must(t, b.Train())
	}
	pass("hold", split.HeldOut)
	pass("add", func(id int64) bool { return !split.HeldOut(id) })
	report, err := b.Finish()
	must(t, err)
	stats, size, err := b.Write(path)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Size() != size {
		t.Fatalf("Write reports %d bytes, the file has %v (%v)", size, info, err)
	}
	return report, stats
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tempFile(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }
