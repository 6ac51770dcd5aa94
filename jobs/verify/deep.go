package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/imaging"
)

// Deep is what came of computing embeddings again.
type Deep struct {
	Images int `json:"images"` // computed again
	// Moved are images that are not what they were when they were embedded: another content, gone, or not
	// to be had. That is no fault of the snapshot's.
	Moved       []string `json:"moved"`
	LeastCosine float64  `json:"least_cosine"` // between an embedding and its second computation; 1 without any
}

const (
	// leastCosine is what the same model on other hardware, or in another batch, keeps.
	leastCosine = 0.9999
	// lengthTolerance is relative, for vectors that have no unit length.
	lengthTolerance = 0.001
	deepBatch       = 8
	deepFetches     = 8
	deepMemory      = 256 << 20 // bytes of encoded images at a time
)

// deepLimits let everything pass that a job may have let pass.
var deepLimits = imaging.Limits{Bytes: 1 << 31, Pixels: 1 << 31, Scans: 1000}

// deepSample collects the images to be computed again, while the tables are read.
type deepSample struct {
	wanted  bool
	split   faiss.Split
	rows    []sinks.Row
	vectors map[string]map[int64][]float32 // by task and id
}

func newDeepSample(o Options, n int) deepSample {
	d := deepSample{wanted: o.Deep, vectors: map[string]map[int64][]float32{}}
	if o.Deep {
		d.split = faiss.NewSplit(n, 0, max(o.Sample, 1))
	}
	return d
}

func (d *deepSample) take(r sinks.Row) {
	if d.wanted && d.split.Sampled(r.ID) {
		d.rows = append(d.rows, r)
	}
}

func (d *deepSample) vector(task string, id int64, v []float32) {
	if !d.wanted || !d.split.Sampled(id) {
		return
	}
	if d.vectors[task] == nil {
		d.vectors[task] = map[int64][]float32{}
	}
	d.vectors[task][id] = slices.Clone(v)
}

// checkDeep runs the snapshot's own model on the source images of the sample.
func (v *verifier) checkDeep(ctx context.Context) error {
	if !v.deep.wanted {
		return nil
	}
	v.Report.Deep = &Deep{Moved: []string{}, LeastCosine: 1}
	images, err := v.gallery(ctx)
	if err != nil {
		return err
	}
	var tasks []pipeline.Task
	for _, t := range v.snapshot.Tasks {
		tasks = append(tasks, t.Task)
	}
	engine, err := network.OpenSnapshot(ctx, v.snapshot, tasks)
	if errors.Is(err, sinks.ErrDamaged) {
		v.differ("deep: nothing can be computed again: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer engine.Close()
	cores, pre := runtime.NumCPU(), v.snapshot.Model.Preprocess
	pixels, data := &stages.Buffers{}, &stages.Buffers{}
	decode, err := stages.NewDecode(pre, deepLimits, cores, pixels, data)
	if err != nil {
		return err
	}
	embed, err := stages.NewEmbed(engine, tasks, pre, deepBatch, cores, pixels)
	if err != nil {
		return err
	}
	defer embed.Close()
	fetch := stages.NewFetch(objects{images}, deepLimits.Bytes, data)
	f := pipeline.NewFlow(ctx)
	admit := stages.Admit{Budget: stages.NewBudget(deepMemory, deepLimits.Bytes)}
	items := pipeline.Through(f, "admit", pipeline.From(f, pipeline.Slice(v.deep.items())), admit, 1)
	decoded := pipeline.Through(f, "decode", pipeline.Through(f, "fetch", items, fetch, deepFetches), decode, cores)
	sink := &recomputed{v}
	pipeline.Into(f, pipeline.Through(f, "embed", pipeline.Batch(f, decoded, deepBatch, nil), embed, cores), sink)
	return f.Commit(ctx, sink)
}

// gallery is where the images are.
func (v *verifier) gallery(ctx context.Context) (store.Store, error) {
	address := v.options.Gallery
	if address == "" {
		address = v.snapshot.Gallery
	}
	if address == "" {
		return nil, fmt.Errorf("%w: the manifest does not say where the images are; verify --deep wants --gallery", jobfile.ErrConfig)
	}
	s, err := store.Open(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	return s, nil
}

func (d *deepSample) items() []*pipeline.Item {
	items := make([]*pipeline.Item, len(d.rows))
	for i, r := range d.rows {
		items[i] = &pipeline.Item{ID: r.ID, Ref: pipeline.Ref{Key: r.Key, ETag: r.ETag, Size: r.Bytes}}
	}
	return items
}

// objects reads images for the fetch stage.
type objects struct{ store.Store }

// ReadObject implements stages.Objects.
func (o objects) ReadObject(ctx context.Context, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	data, ref, err := store.ReadObject(ctx, o.Store, key, buf, limit)
	if errors.Is(err, store.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", stages.ErrTooLarge, err)
	}
	return data, ref, err
}

// recomputed compares embeddings with those of the snapshot. It is a pipeline.Sink.
type recomputed struct{ v *verifier }

// Write implements pipeline.Sink.
func (r *recomputed) Write(_ context.Context, e *pipeline.Embeddings) error {
	row := 0
	for _, it := range e.Items {
		if r.same(it) {
			r.compare(it, e.Vectors, row)
		}
		if it.Reject == nil {
			row++
		}
	}
	return nil
}

// same tells whether an image can be compared: it is there, it is what it was, and it can be decoded as then.
func (r *recomputed) same(it *pipeline.Item) bool {
	v := r.v
	i := slices.IndexFunc(v.deep.rows, func(row sinks.Row) bool { return row.ID == it.ID })
	was := v.deep.rows[i]
	switch {
	case it.ContentHash == was.ContentHash && it.Reject != nil:
		v.differ("deep: image %d, %q, was embedded and is rejected now: %v", it.ID, it.Key, it.Reject)
		return false
	case it.ContentHash != was.ContentHash:
		if len(v.Report.Deep.Moved) < mostDifferences {
			v.Report.Deep.Moved = append(v.Report.Deep.Moved, it.Key)
		}
		return false
	case it.Width != was.Width || it.Height != was.Height:
		v.differ("deep: image %d, %q, has %d × %d pixels, the items say %d × %d", it.ID, it.Key, it.Width, it.Height, was.Width, was.Height)
	}
	return true
}

func (r *recomputed) compare(it *pipeline.Item, vectors [][]float32, row int) {
	d := r.v.Report.Deep
	d.Images++
	for i, t := range r.v.snapshot.Tasks {
		was, ok := r.v.deep.vectors[t.Name][it.ID]
		if !ok {
			continue // told of already: the shard's images are not those of its items
		}
		cosine, length := likeness(was, vectors[i][row*t.Dim:(row+1)*t.Dim])
		d.LeastCosine = min(d.LeastCosine, cosine)
		if !(cosine >= leastCosine) || !(math.Abs(length-1) <= lengthTolerance) {
			r.v.differ("deep: image %d, %q: the embedding of task %q has the cosine %.6f to its second computation, and is %.4f times as long",
				it.ID, it.Key, t.Name, cosine, length)
			r.v.suspectVector(t.Name, it.ID)
		}
	}
}

// likeness is the cosine between two vectors, and the ratio of their lengths.
func likeness(a, b []float32) (cosine, length float64) {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	if aa == 0 && bb == 0 {
		return 1, 1
	}
	return ab / math.Sqrt(aa*bb), math.Sqrt(aa / bb)
}

// Commit implements pipeline.Committer.
func (r *recomputed) Commit(context.Context) error { return nil }
