package evaluate

import (
	"context"
	"fmt"

	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
)

// Vectors are the embeddings of a gallery's rows.
type Vectors struct {
	Tasks []pipeline.Task
	Data  [][]float32 // of each task, [rows, Dim]; zeros where there is no embedding
	Have  []bool      // the rows that have one
}

func newVectors(tasks []pipeline.Task, rows int) *Vectors {
	v := &Vectors{Tasks: tasks, Have: make([]bool, rows)}
	for _, t := range tasks {
		v.Data = append(v.Data, make([]float32, rows*t.Dim))
	}
	return v
}

// set copies one row's embedding of one task.
func (v *Vectors) set(task, row int, vector []float32) {
	d := v.Tasks[task].Dim
	copy(v.Data[task][row*d:(row+1)*d], vector)
}

// Embedder runs a model over images of a gallery.
type Embedder struct {
	Images store.Store
	Model  *modulation.Model
	File   []byte // the model's
	Tasks  []pipeline.Task
	Engine string
	Batch  int
	Cores  int
	Fetch  int
	Reject float64 // share of the images that may be unreadable
}

// Embed embeds the named rows of keys. Unreadable images are left without an embedding; too many are a
// sinks.ErrRejects.
func (e *Embedder) Embed(ctx context.Context, keys []string, rows []int, p *progress.Progress) (*Vectors, error) {
	eng, err := network.Open(e.Engine, e.File, e.Model, e.Tasks)
	if err != nil {
		return nil, err
	}
	defer eng.Close()
	pixels, data := &stages.Buffers{}, &stages.Buffers{}
	decode, err := stages.NewDecode(e.Model.Preprocess, labelled.Limits, e.Cores, pixels, data)
	if err != nil {
		return nil, err
	}
	embed, err := stages.NewEmbed(eng, e.Tasks, e.Model.Preprocess, e.Batch, e.Cores, pixels)
	if err != nil {
		return nil, err
	}
	defer embed.Close()
	into := &collect{vectors: newVectors(e.Tasks, len(keys)), limit: int(e.Reject * float64(len(rows))), progress: p}
	budget := stages.NewBudget(int64(e.Fetch)*labelled.Limits.Bytes, labelled.Limits.Bytes)
	fetch := stages.NewFetch(labelled.Objects{Store: e.Images}, labelled.Limits.Bytes, data)
	p.Start("embed", int64(len(rows)))
	f := pipeline.NewFlow(ctx)
	items := pipeline.Through(f, "admit", pipeline.From(f, pipeline.Slice(labelled.ItemsOf(keys, rows))), stages.Admit{Budget: budget}, 1)
	decoded := pipeline.Through(f, "decode", pipeline.Through(f, "fetch", items, fetch, e.Fetch), decode, e.Cores)
	pipeline.Into(f, pipeline.Through(f, "embed", pipeline.Batch(f, decoded, e.Batch, nil), embed, e.Cores), into)
	if err := f.Commit(ctx, into); err != nil {
		return nil, err
	}
	p.Finish()
	return into.vectors, nil
}

// collect is the sink that fills the vectors.
type collect struct {
	vectors  *Vectors
	rejected int
	limit    int
	progress *progress.Progress
}

// Write implements pipeline.Sink.
func (c *collect) Write(_ context.Context, e *pipeline.Embeddings) error {
	n := progress.Count{Items: int64(len(e.Items))}
	at := 0
	for _, it := range e.Items {
		if it.Reject != nil {
			c.rejected++
			n.Rejects++
			if c.rejected > c.limit {
				return fmt.Errorf("%w: %d of at most %d; the last is %q: %w", sinks.ErrRejects, c.rejected, c.limit, it.Key, it.Reject)
			}
			continue
		}
		for t, task := range c.vectors.Tasks {
			c.vectors.set(t, int(it.ID), e.Vectors[t][at*task.Dim:(at+1)*task.Dim])
		}
		c.vectors.Have[it.ID] = true
		at++
	}
	c.progress.Add(n)
	return nil
}

// Commit implements pipeline.Committer.
func (c *collect) Commit(context.Context) error { return nil }
