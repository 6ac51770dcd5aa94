package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/metrics"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/labels"
)

// queryBlock is how many queries are searched for between two signs of progress.
const queryBlock = 256

// Figure is a number of a result; NaN, where there is nothing to measure, is null in JSON.
type Figure float64

// MarshalJSON implements json.Marshaler.
func (f Figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(f), 'g', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Figure) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*f = Figure(math.NaN())
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	*f = Figure(v)
	return err
}

// TaskResult is what was measured for one task.
type TaskResult struct {
	Task            string `json:"task"`
	TripletAccuracy Figure `json:"triplet_accuracy"`
	Triplets        int    `json:"triplets"`
	Given           bool   `json:"triplets_given"` // not drawn
	Recall1         Figure `json:"recall@1"`       // precision at 1, too
	Recall10        Figure `json:"recall@10"`
	MAP             Figure `json:"map"`
	Queries         int    `json:"queries"`    // with a label and an embedding
	Unlabelled      int    `json:"unlabelled"` // queries without
	Answerable      int    `json:"answerable"` // queries of whose class there is another image
	Gallery         int    `json:"gallery"`    // images searched
}

// Rows are what a measurement looks at.
type Rows struct {
	Queries, Against []int
	split            labels.Split // of the queries: the one whose given triplets are judged
}

// Rows chooses the queries and what they are searched in. An empty choice is a jobfile.ErrConfig.
func (m *Measure) Rows(g *labels.Gallery) (Rows, error) {
	queries, split := m.rows(g, m.Queries)
	against, _ := m.rows(g, m.Against)
	if m.Limit > 0 && len(against) > m.Limit {
		against = against[:m.Limit]
	}
	if len(queries) == 0 || len(against) == 0 {
		return Rows{}, fmt.Errorf("%w: the labels have %d images of %q and %d of %q", jobfile.ErrConfig, len(queries), m.Queries, len(against), m.Against)
	}
	return Rows{queries, against, split}, nil
}

func (m *Measure) rows(g *labels.Gallery, name string) ([]int, labels.Split) {
	if name == "all" {
		rows := make([]int, g.Len())
		for i := range rows {
			rows[i] = i
		}
		return rows, labels.Test
	}
	split, _ := labels.ParseSplit(name) // checked with the configuration
	return g.In(split), split
}

// Needed lists the rows whose embeddings the measurement takes: those of given triplets, too.
func (r Rows) Needed(g *labels.Gallery) []int {
	need := make([]bool, g.Len())
	for _, rows := range [][]int{r.Queries, r.Against} {
		for _, i := range rows {
			need[i] = true
		}
	}
	for _, t := range g.Tasks {
		for _, l := range t.Triplets[r.split] {
			need[l.Anchor], need[l.Near], need[l.Far] = true, true, true
		}
	}
	var list []int
	for i, n := range need {
		if n {
			list = append(list, i)
		}
	}
	return list
}

// Tasks measures every task of the vectors; each is one of the gallery's.
func (m *Measure) Tasks(ctx context.Context, g *labels.Gallery, r Rows, v *Vectors, cores int, p *progress.Progress) ([]TaskResult, error) {
	p.Start("measure", int64(len(v.Tasks)*len(r.Queries)))
	var results []TaskResult
	for i := range v.Tasks {
		t, err := m.task(ctx, g, r, v, i, cores, p)
		if err != nil {
			return nil, fmt.Errorf("task %q: %w", v.Tasks[i].Name, err)
		}
		results = append(results, t)
	}
	p.Finish()
	return results, nil
}

func (m *Measure) task(ctx context.Context, g *labels.Gallery, r Rows, v *Vectors, i, cores int, p *progress.Progress) (TaskResult, error) {
	task, ok := g.Task(v.Tasks[i].Name)
	if !ok {
		return TaskResult{}, errors.New("there are no labels for it")
	}
	space := metrics.Space{Dim: v.Tasks[i].Dim, Metric: v.Tasks[i].Metric, Data: v.Data[i]}
	classes := slices.Clone(task.IDs)
	for row, have := range v.Have {
		if !have {
			classes[row] = labels.Missing
		}
	}
	result := TaskResult{Task: task.Name}
	list, given, err := m.triplets(task, classes, r, v.Have)
	if err != nil {
		return result, err
	}
	result.Triplets, result.Given = len(list), given
	result.TripletAccuracy = Figure(metrics.TripletAccuracy(space, list))
	gallery, err := metrics.NewGallery(space, classes, r.Against)
	if err != nil {
		return result, err
	}
	found := &tally{progress: p}
	f := pipeline.NewFlow(ctx)
	blocks := pipeline.From(f, pipeline.Slice(slices.Collect(slices.Chunk(r.Queries, queryBlock))))
	pipeline.Into(f, pipeline.Through(f, "search", blocks, search{gallery}, cores), found)
	if err := f.Commit(ctx, found); err != nil {
		return result, err
	}
	result.Recall1, result.Recall10, result.MAP = Figure(found.Recall1()), Figure(found.Recall10()), Figure(found.MAP())
	result.Queries, result.Unlabelled, result.Answerable = found.Queries, found.Unlabelled, found.Answerable
	result.Gallery = len(r.Against) - gallery.Unlabelled
	return result, nil
}

// triplets are those that the labels give for the queries' split, of images with embeddings, or drawn
// ones. None can be drawn where no class has two images; that is no error.
func (m *Measure) triplets(t *labels.Task, classes []int32, r Rows, have []bool) (list []metrics.Triplet, given bool, err error) {
	for _, l := range t.Triplets[r.split] {
		if have[l.Anchor] && have[l.Near] && have[l.Far] {
			list = append(list, metrics.Triplet(l))
		}
	}
	if t.Triplets != nil {
		return list, true, nil
	}
	list, err = metrics.DrawTriplets(classes, r.Queries, m.Triplets, m.Seed)
	if errors.Is(err, metrics.ErrNoTriplets) {
		err = nil
	}
	return list, false, err
}

// search is the stage that looks for a block of queries.
type search struct{ gallery *metrics.Gallery }

// Process implements pipeline.Stage.
func (s search) Process(_ context.Context, queries []int) (metrics.Retrieval, error) {
	return s.gallery.Search(queries)
}

// tally is the sink that adds up what was found.
type tally struct {
	metrics.Retrieval
	progress *progress.Progress
}

// Write implements pipeline.Sink.
func (t *tally) Write(_ context.Context, r metrics.Retrieval) error {
	t.Add(r)
	t.progress.Add(progress.Count{Items: int64(r.Queries + r.Unlabelled)})
	return nil
}

// Commit implements pipeline.Committer.
func (t *tally) Commit(context.Context) error { return nil }
