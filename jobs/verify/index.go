package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
)

const (
	// searches is how many vectors a task are searched for in its index, about.
	searches = 1000
	// searchesAtOnce bounds a call; nearest is how far down the answer a vector may find itself.
	searchesAtOnce = 256
	nearest        = 64
	// scoreTolerance is relative to a vector's squared length: FAISS computes distances of many queries
	// by way of their lengths.
	scoreTolerance = 1e-3
)

// sample are vectors as the embeddings have them.
type sample struct {
	ids  []int64
	data []float32
}

func (s *sample) add(id int64, v []float32) {
	s.ids = append(s.ids, id)
	s.data = append(s.data, v...)
}

func (v *verifier) checkIndexes(ctx context.Context) error {
	path := filepath.Join(v.dir, "knn.index")
	for _, t := range v.snapshot.Tasks {
		for _, f := range v.snapshot.Select(sinks.Index, t.Name) {
			err := v.snapshot.Download(ctx, f, path)
			if err == nil {
				err = v.checkIndex(ctx, t, f, path)
			}
			if err := v.tolerate(f, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkIndex wants the index to hold the ids of the items, each once, and under each its vector.
func (v *verifier) checkIndex(ctx context.Context, t sinks.TaskState, f sinks.File, path string) error {
	ix, err := faiss.OpenIndex(ctx, path, t.Task, 1)
	if err != nil {
		return damagedUnless(ctx.Err(), err)
	}
	defer ix.Close()
	if got := ix.Stats().Total; got != f.Rows || got != t.Index.NTotal {
		v.blame(f, "%d vectors, the manifest says %d and %d", got, f.Rows, t.Index.NTotal)
	}
	ids, err := ix.IDSet()
	if err != nil {
		return damagedUnless(ctx.Err(), err)
	}
	if ids != v.ids {
		v.differ("%s: its image ids are not those of the items", f.Path)
	}
	if t.Index.Params != "" {
		if err := ix.Tune(t.Index.Params); err != nil {
			return damagedUnless(ctx.Err(), err)
		}
	}
	if err := v.checkVectorsIn(ix, t, f); err != nil {
		return damagedUnless(ctx.Err(), err)
	}
	return nil
}

// checkVectorsIn searches the index for vectors that it should hold, as far as its type allows: one that
// keeps vectors and looks where they are must find each of them at distance nought; one that approximates,
// about as many as its recall promises.
func (v *verifier) checkVectorsIn(ix *faiss.Searcher, t sinks.TaskState, f sinks.File) error {
	s := v.sample[t.Name]
	lossless, certain := faiss.Fidelity(t.Index.Factory)
	var missed, wrong, example int64
	for from := 0; from < len(s.ids); from += searchesAtOnce {
		to := min(from+searchesAtOnce, len(s.ids))
		hits, err := ix.Search(s.data[from*t.Dim:to*t.Dim], nearest)
		if err != nil {
			return err
		}
		for i, h := range hits {
			id, vector := s.ids[from+i], s.data[(from+i)*t.Dim:(from+i+1)*t.Dim]
			found, exact := itself(t.Metric, h, id, vector)
			if !found {
				missed, example = missed+1, id
			} else if lossless && !exact {
				wrong, example = wrong+1, id
			}
			if certain && !found || lossless && found && !exact {
				v.suspectVector(t.Name, id)
			}
		}
	}
	n := int64(len(s.ids))
	v.Searched += n
	if least := leastFound(t, certain); float64(n-missed) < least*float64(n) {
		v.blame(f, "%d of %d vectors of the embeddings don't find themselves, such as that of image %d", missed, n, example)
	}
	if wrong > 0 {
		v.blame(f, "%d of %d vectors are not those of the embeddings, such as that of image %d", wrong, n, example)
	}
	return nil
}

// suspectVector takes the embeddings of an image for damaged: of two that disagree, either may be.
func (v *verifier) suspectVector(task string, id int64) {
	if f, ok := v.fileOf(sinks.Embedding, task, int(id>>pipeline.ShardShift)); ok {
		v.suspect(f)
	}
}

// leastFound is the share of vectors that must find themselves.
func leastFound(t sinks.TaskState, certain bool) float64 {
	if certain {
		return 1
	}
	return 0.8 * max(0, t.Index.Recall)
}

// itself tells whether a vector is among its own nearest, or could not be for images that are the same,
// and whether it is at the distance that it must have to itself.
func itself(metric pipeline.Metric, hits []faiss.Hit, id int64, vector []float32) (found, exact bool) {
	square := 0.0
	for _, x := range vector {
		square += float64(x) * float64(x)
	}
	want := square
	if metric == pipeline.L2 {
		want = 0
	}
	at := func(h faiss.Hit) bool { return math.Abs(float64(h.Distance)-want) <= scoreTolerance*square }
	for _, h := range hits {
		if h.ID == id {
			return true, at(h)
		}
	}
	full := len(hits) == nearest && at(hits[nearest-1])
	return full, full
}

// damagedUnless blames the index for what FAISS says of it, unless the run was cut short.
func damagedUnless(interrupted, err error) error {
	if interrupted != nil {
		return interrupted
	}
	return fmt.Errorf("%w: %w", sinks.ErrDamaged, err)
}

// checkInfos wants autofaiss's document beside an index to be about it.
func (v *verifier) checkInfos(ctx context.Context) error {
	for _, t := range v.snapshot.Tasks {
		files := v.snapshot.Select(sinks.IndexInfos, t.Name)
		if len(files) != 1 {
			v.differ("manifest: task %q has %d index infos, want 1", t.Name, len(files))
		}
		for _, f := range files {
			data, err := v.snapshot.ReadFile(ctx, f)
			var infos faiss.Infos
			if err == nil && json.Unmarshal(data, &infos) != nil {
				err = fmt.Errorf("%w: it is no JSON", sinks.ErrDamaged)
			}
			whole := err == nil
			if err := v.tolerate(f, err); err != nil {
				return err
			}
			if whole && (infos.Key != t.Index.Factory || infos.Vectors != t.Index.NTotal || infos.Dim != t.Dim || infos.Metric != string(t.Metric)) {
				v.differ("%s: it is about %d vectors of %d numbers in an index %s by %s, the manifest says %d, %d, %s, %s", f.Path,
					infos.Vectors, infos.Dim, infos.Key, infos.Metric, t.Index.NTotal, t.Dim, t.Index.Factory, t.Metric)
			}
		}
	}
	return nil
}
