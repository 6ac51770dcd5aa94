package sinks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

const (
	benchShards = 8
	benchRows   = 100_000 / benchShards
	benchDim    = 128
)

// BenchmarkUpdate builds an index of 100,000 clustered vectors and brings it up to galleries in which
// 0, 1 and 10 % of them were replaced, in every shard. It reports an update's CPU time over a build's,
// of this process and its children, and the peak memory of this one, which reads, compares and sends.
func BenchmarkUpdate(b *testing.B) {
	for _, factory := range []string{"IVF1024,Flat", "IVF1024,SQ8"} {
		b.Run(factory, func(b *testing.B) {
			for b.Loop() {
				benchUpdate(b, factory)
			}
		})
	}
}

func benchUpdate(b *testing.B, factory string) {
	objects, err := store.OpenFile(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	builder := IndexBuilder{
		Objects: objects, Dir: b.TempDir(), Queries: 500, Target: 0.95, Threads: 1, Retrain: Retrain{Changed: 0.3, Imbalance: 1.5},
	}
	job := IndexJob{Task: pipeline.Task{Name: "style", Output: "style", Dim: benchDim, Metric: pipeline.L2}, Factory: factory}
	var first *BuiltIndex
	var build float64
	for _, percent := range []int{-1, 0, 1, 10} {
		job.Files = benchGallery(b, builder, job.Task, max(percent, 0))
		if percent == 0 {
			builder.Queries++ // another wish: the same vectors are measured again
		}
		begun, before := time.Now(), benchCPU(b)
		made, err := builder.Process(b.Context(), job)
		if err != nil {
			b.Fatal(err)
		}
		took, elapsed := benchCPU(b)-before, time.Since(begun).Seconds()
		if first == nil {
			first, build = made, took
			m := &Manifest{Snapshot: "first", Tasks: []TaskState{{Task: job.Task}}, Files: job.Files, Ledger: Ledger{Tasks: map[string]TaskLedger{}}}
			if err := (Indexed{m}).Write(b.Context(), made); err != nil {
				b.Fatal(err)
			}
			builder.Parent = &Snapshot{Manifest: m, objects: objects}
			b.Logf("%s: built with %.1f s of CPU in %.1f s, recall@10 %.3f", factory, build, elapsed, made.Index.Recall)
			continue
		}
		b.ReportMetric(took/build, fmt.Sprintf("%d%%/build", percent))
		b.Logf("%s: %d %%: %s with %.2f s of CPU in %.2f s, %.3f of a build, recall@10 %.3f, imbalance %.2f; %s", factory, percent,
			made.Index.Origin.How, took, elapsed, took/build, made.Index.Recall, made.Index.Origin.Imbalance, made.Index.Origin.Why)
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(used.Maxrss)/1024, "MiB-peak")
}

// benchCPU is the CPU time of this process and of the children that have ended, in seconds.
func benchCPU(b *testing.B) (sum float64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		if err := syscall.Getrusage(who, &used); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	}
	return sum
}

// benchGallery stores vectors of which some are others than in the gallery with 0 %.
func benchGallery(b *testing.B, builder IndexBuilder, task pipeline.Task, percent int) (files []File) {
	r, other := rand.New(rand.NewPCG(41, 42)), rand.New(rand.NewPCG(43, uint64(percent)))
	centres := make([]float32, 400*benchDim)
	for i := range centres {
		centres[i] = float32(r.NormFloat64())
	}
	v := make([]float32, benchDim)
	draw := func(r *rand.Rand) {
		c := centres[r.IntN(400)*benchDim:]
		for i := range v {
			v[i] = c[i] + 0.5*float32(r.NormFloat64())
		}
	}
	for shard := range benchShards {
		t, err := newTable(builder.Dir, embeddingsSchema(task), memory.DefaultAllocator, Embedding)
		if err != nil {
			b.Fatal(err)
		}
		for row := range benchRows {
			if draw(r); other.IntN(100) < percent {
				draw(other)
			}
			if err := t.appendVector(int64(shard)<<pipeline.ShardShift|int64(row), v); err != nil {
				b.Fatal(err)
			}
		}
		sealed, err := t.seal(func(_ Kind, digest string) File {
			return File{Path: contentName("embeddings/style", shard, digest, ".parquet"), Task: "style", Shard: shard}
		})
		if err == nil {
			err = storeFile(b.Context(), builder.Objects, sealed[0])
		}
		if err != nil {
			b.Fatal(err)
		}
		removeAll(sealed)
		files = append(files, sealed[0].File)
	}
	return slices.Clip(files)
}
