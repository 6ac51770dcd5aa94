package stages

import (
	"context"

	"github.com/facet-search/facet/pipeline"
)

// Compute gives every item of a batch the vectors that it needs: new content those of all tasks, and
// what an earlier night knows only those of the tasks that have changed since, from a model cut down to
// them. It is a pipeline.Stage.
type Compute struct {
	Tasks   []pipeline.Task
	All     *Embed
	Some    *Embed // nil: nothing has changed
	Changed []bool // by task: Some puts it out
}

// Process implements pipeline.Stage.
func (c Compute) Process(ctx context.Context, items []*pipeline.Item) (*pipeline.Embeddings, error) {
	all, err := c.All.Process(ctx, needing(items, pipeline.NeedAll))
	if err != nil {
		return nil, err
	}
	out := &pipeline.Embeddings{Items: items, Vectors: all.Vectors}
	if c.Some == nil {
		return out, nil
	}
	some, err := c.Some.Process(ctx, needing(items, pipeline.NeedSome))
	if err != nil || len(some.Items) == 0 {
		return out, err
	}
	for t, v := range c.spread(some.Vectors) {
		if v != nil {
			out.Vectors[t] = weave(items, c.Tasks[t].Dim, all.Vectors[t], v)
		}
	}
	return out, nil
}

func needing(items []*pipeline.Item, n pipeline.Need) (list []*pipeline.Item) {
	for _, it := range items {
		if it.Reject == nil && it.Need == n {
			list = append(list, it)
		}
	}
	return list
}

// spread puts the outputs of the cut model where the job's tasks have them.
func (c Compute) spread(some [][]float32) [][]float32 {
	out := make([][]float32, len(c.Tasks))
	n := 0
	for t, changed := range c.Changed {
		if changed {
			out[t] = some[n]
			n++
		}
	}
	return out
}

// weave puts the rows of both into the order of the items.
func weave(items []*pipeline.Item, dim int, all, some []float32) []float32 {
	v := make([]float32, 0, len(all)+len(some))
	for _, it := range items {
		switch {
		case it.Reject != nil:
		case it.Need == pipeline.NeedAll:
			v, all = append(v, all[:dim]...), all[dim:]
		case it.Need == pipeline.NeedSome:
			v, some = append(v, some[:dim]...), some[dim:]
		}
	}
	return v
}
