package gate

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
)

// Comparison measures drift between two snapshots of one output. It reads a few shards and the indexes,
// so what it costs does not follow the size of the gallery, but for loading the indexes.
type Comparison struct {
	Was, Is *sinks.Snapshot // Was is nil where there is nothing to compare with
	Dir     string          // local folder for the index files
	Queries int             // unchanged images to search for, at most

	shards  map[int]bool
	queries []int64 // image ids in ascending order

	contents int    // different images in the sampled shards of the second snapshot
	obstacle string // why the first snapshot can't be compared with
}

const (
	// sampledImages are enough for means and queries; shards are read until there are so many.
	sampledImages = 2000
	// sampledShards are read at least, where there are so many.
	sampledShards = 4
)

// Sample picks the images, the same in every run: whole shards in the order of a hash of their number,
// and of their unchanged images those whose ids have the lowest hashes.
func (c *Comparison) Sample(ctx context.Context) error {
	c.shards = map[int]bool{}
	order := make([]int, c.Is.Shards.Count)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(mix(int64(a)), mix(int64(b))) })
	if c.Was != nil && c.Was.Shards.Count != c.Is.Shards.Count {
		c.obstacle = fmt.Sprintf("snapshots %s and %s have %d and %d shards", c.Was.Snapshot, c.Is.Snapshot, c.Was.Shards.Count, c.Is.Shards.Count)
	}
	contents := map[[32]byte]bool{}
	for _, shard := range order {
		if len(c.shards) >= sampledShards && len(contents) >= sampledImages {
			break
		}
		unchanged, err := c.unchanged(ctx, shard, contents)
		if err != nil {
			return err
		}
		c.shards[shard] = true
		c.queries = append(c.queries, unchanged...)
	}
	c.contents = len(contents)
	slices.SortFunc(c.queries, func(a, b int64) int { return cmp.Compare(mix(a), mix(b)) })
	c.queries = c.queries[:min(len(c.queries), c.Queries)]
	slices.Sort(c.queries)
	return nil
}

// mix spreads consecutive numbers.
func mix(id int64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(id))
	return xxhash.Sum64(b[:])
}

// unchanged are the ids of a shard's images that both snapshots have with the same content. All
// contents of the second are entered into contents.
func (c *Comparison) unchanged(ctx context.Context, shard int, contents map[[32]byte]bool) ([]int64, error) {
	was := map[int64][32]byte{}
	if c.Was != nil && c.obstacle == "" {
		err := eachItem(ctx, c.Was, shard, func(r sinks.Row) { was[r.ID] = r.ContentHash })
		if errors.Is(err, sinks.ErrDamaged) {
			c.obstacle, err = err.Error(), nil
		}
		if err != nil {
			return nil, err
		}
	}
	var same []int64
	err := eachItem(ctx, c.Is, shard, func(r sinks.Row) {
		contents[r.ContentHash] = true
		if h, ok := was[r.ID]; ok && h == r.ContentHash {
			same = append(same, r.ID)
		}
	})
	return same, err
}

func eachItem(ctx context.Context, s *sinks.Snapshot, shard int, do func(sinks.Row)) error {
	for _, f := range s.Select(sinks.Items, "") {
		if f.Shard != shard {
			continue
		}
		err := s.EachItem(ctx, f, func(r sinks.Row) error { do(r); return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// sampled is what the sample holds of one snapshot's task.
type sampled struct {
	moments Moments
	queries []float32 // in the order of the comparison's queries that are there
	ids     []int64
}

// read reads a task's embeddings of the sampled shards.
func read(ctx context.Context, s *sinks.Snapshot, t sinks.TaskState, shards map[int]bool, queries []int64) (*sampled, error) {
	out := &sampled{}
	for _, f := range s.Select(sinks.Embedding, t.Name) {
		if !shards[f.Shard] {
			continue
		}
		err := s.EachVectors(ctx, f, t.Dim, func(v sinks.Vectors) error {
			out.moments.Add(v.Data, t.Dim)
			for i, id := range v.IDs {
				if _, ok := slices.BinarySearch(queries, id); ok {
					out.ids = append(out.ids, id)
					out.queries = append(out.queries, v.Data[i*t.Dim:(i+1)*t.Dim]...)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Measure compares a task with the same task of the first snapshot. What can't be compared is left out:
// all of it where that is nil or lacks the task, means where the vectors have another length, and all
// but the spread where too few images are in common.
func (c *Comparison) Measure(ctx context.Context, task string) (d Drift, err error) {
	d = Drift{Task: task, Neighbours: 1}
	is, err := c.Is.Task(task)
	if err != nil {
		return d, err
	}
	b, err := read(ctx, c.Is, is, c.shards, c.queries)
	if err != nil {
		return d, err
	}
	if c.contents >= leastSample {
		d.Sampled, d.Spread = b.moments.N, b.moments.Spread()
	}
	if c.Was == nil {
		return d, nil
	}
	was, err := c.Was.Task(task)
	if err != nil {
		return d, nil //nolint:nilerr // a task that is new has not drifted
	}
	d.SameModel = was.Digest == is.Digest && c.Was.Model.PreprocessDigest == c.Is.Model.PreprocessDigest
	if len(c.queries) >= leastSample && !slices.Equal(b.ids, c.queries) {
		return d, fmt.Errorf("%w: task %q lacks embeddings of images that the items name", sinks.ErrDamaged, task)
	}
	err = c.against(ctx, &d, was, is, b)
	return d, err
}

// against fills in what is compared. A first snapshot that is damaged is no obstacle to a second that is
// not: then the drift says so.
func (c *Comparison) against(ctx context.Context, d *Drift, was, is sinks.TaskState, b *sampled) error {
	if d.Obstacle = c.obstacle; d.Obstacle != "" {
		return nil
	}
	a, err := read(ctx, c.Was, was, c.shards, c.queries)
	if err != nil {
		return d.excuse(err)
	}
	d.compare(a.moments, b.moments)
	if len(c.queries) < leastSample {
		return nil
	}
	if !slices.Equal(a.ids, c.queries) {
		return d.excuse(fmt.Errorf("%w: snapshot %s lacks embeddings of task %q", sinks.ErrDamaged, c.Was.Snapshot, d.Task))
	}
	if was.Index.Path == is.Index.Path && slices.Equal(a.queries, b.queries) {
		d.Queries = len(c.queries) // one index gives the same answers twice
		return nil
	}
	before, err := c.search(ctx, c.Was, was, a.queries)
	if err != nil {
		return d.excuse(err)
	}
	after, err := c.search(ctx, c.Is, is, b.queries)
	if err != nil {
		return err
	}
	d.Queries, d.Neighbours = len(c.queries), shareKept(before, after)
	return nil
}

// excuse notes that the first snapshot is damaged; other errors are passed on.
func (d *Drift) excuse(err error) error {
	if !errors.Is(err, sinks.ErrDamaged) {
		return err
	}
	d.Obstacle = err.Error()
	return nil
}

// shareKept is the mean share of neighbours kept.
func shareKept(before, after *answers) float64 {
	both := func(id int64) bool { return before.known.has(id) && after.known.has(id) }
	sum := 0.0
	for i := range before.found {
		sum += kept(before.found[i].among(both), after.found[i].among(both))
	}
	return sum / float64(len(before.found))
}

// answers are those of one index, with the ids that it holds.
type answers struct {
	found []found
	known *members
}

// search asks a snapshot's index, which is read back from the store and compared with its digest.
func (c *Comparison) search(ctx context.Context, s *sinks.Snapshot, t sinks.TaskState, queries []float32) (*answers, error) {
	ix, done, err := openIndex(ctx, s, t, c.Dir)
	if err != nil {
		return nil, err
	}
	defer done()
	hits, err := ix.Search(queries, searched)
	if err != nil {
		return nil, err
	}
	a := &answers{known: newMembers(s.Shards.NextSequence)}
	for i, h := range hits {
		a.found = append(a.found, found{c.queries[i], h})
	}
	for ids, err := range ix.IDs() {
		if err != nil {
			return nil, err
		}
		a.known.add(ids)
	}
	return a, nil
}

// openIndex downloads and opens a task's index. Whoever gets it calls done.
func openIndex(ctx context.Context, s *sinks.Snapshot, t sinks.TaskState, dir string) (ix *faiss.Searcher, done func(), err error) {
	files := s.Select(sinks.Index, t.Name)
	if len(files) != 1 {
		return nil, nil, fmt.Errorf("%w: snapshot %s names %d indexes of task %q, want 1", sinks.ErrDamaged, s.Snapshot, len(files), t.Name)
	}
	path := filepath.Join(dir, "gate-"+t.Name+".index")
	if err := s.Download(ctx, files[0], path); err != nil {
		return nil, nil, err
	}
	ix, err = faiss.OpenIndex(ctx, path, t.Task, 1)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", sinks.ErrDamaged, err)
	}
	if err == nil && t.Index.Params != "" {
		err = ix.Tune(t.Index.Params)
	}
	if err != nil {
		if ix != nil {
			err = errors.Join(err, ix.Close())
		}
		os.Remove(path)
		return nil, nil, fmt.Errorf("%s: %w", files[0].Path, err)
	}
	return ix, func() { ix.Close(); os.Remove(path) }, nil
}
