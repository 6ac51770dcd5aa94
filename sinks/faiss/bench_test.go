package faiss

import (
	"syscall"
	"testing"
	"time"

	"github.com/facet-search/facet/pipeline"
)

// BenchmarkBuild builds the index that Choose picks for a gallery of 36,485 vectors, with one thread
// and 1,000 queries held out, start of the child and writing included. It reports the child's peak
// memory and CPU time, and how far recall@10 got.
func BenchmarkBuild(b *testing.B) {
	const n, dim = 36485, 128
	ids, vectors := gallery(n, dim)
	for _, m := range []pipeline.Metric{pipeline.Cosine, pipeline.L2} {
		b.Run(string(m), func(b *testing.B) {
			task := task("style", dim)
			task.Metric = m
			for b.Loop() {
				factory, err := Resolve(Choose(n, dim, 0))
				must(b, err)
				builder, err := Start(b.Context(), Spec{Task: task, Factory: factory})
				must(b, err)
				must(b, builder.HoldOut(ids[:1000], vectors[:1000*dim]))
				must(b, builder.Add(ids[1000:], vectors[1000*dim:]))
				report, err := builder.Finish()
				must(b, err)
				_, size, err := builder.Write(tempFile(b, "knn.index"))
				must(b, err)
				must(b, builder.Close())
				used := builder.p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
				b.ReportMetric(float64(used.Maxrss)/1024, "MiB-peak")
				b.ReportMetric(time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds(), "cpu-s")
				b.ReportMetric(float64(size)/(1<<20), "MiB-file")
				b.ReportMetric(*report.Recall10, "recall@10")
				b.ReportMetric(*report.AverageMillis, "ms/search")
			}
		})
	}
}
