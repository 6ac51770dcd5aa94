package faiss

import (
	"fmt"

	"github.com/facet-search/facet/pipeline"
)

// Spec says what index to build.
type Spec struct {
	Task    pipeline.Task // its Name, Dim and Metric are used
	Factory string        // a FAISS factory string as Resolve returns it

	// Trained, if set, is the file of a trained, empty index to add to; Factory still says what it
	// is. Indexes that are to be merged start from the same file.
	Trained string
	// Update, if set, is the file of an index to be kept up: ids are removed from it, then vectors
	// added. The file itself stays as it is. See Updatable.
	Update string
	// Train is about how many vectors Sample will be given; it only sizes a buffer.
	Train int
	// Threads is OpenMP's number of threads; 0 means 1. With more than one, an index that involves
	// an HNSW graph differs from run to run.
	Threads int
	// Recall is the recall@10 that search parameters are raised for; 0 means DefaultRecall.
	Recall float64
	// Memory caps, roughly, what the child may allocate, in bytes; 0 means no cap. Beyond it the
	// build fails with an error instead of taking the machine with it.
	Memory int64
}

// DefaultRecall is the recall@10 that search parameters are raised for.
const DefaultRecall = 0.95

func (s Spec) validate() error {
	switch {
	case s.Task.Dim <= 0:
		return fmt.Errorf("faiss: task %q: dim is %d, want > 0", s.Task.Name, s.Task.Dim)
	case s.Task.Metric != pipeline.Cosine && s.Task.Metric != pipeline.L2:
		return fmt.Errorf("faiss: task %q: metric is %q, want %q or %q", s.Task.Name, s.Task.Metric, pipeline.Cosine, pipeline.L2)
	case s.Threads < 0 || s.Train < 0 || s.Memory < 0:
		return fmt.Errorf("faiss: task %q: threads, train and memory cannot be negative", s.Task.Name)
	case s.Trained != "" && s.Update != "":
		return fmt.Errorf("faiss: task %q: an index begins with a trained file or with one to update, not with both", s.Task.Name)
	case s.Recall < 0 || s.Recall > 1:
		return fmt.Errorf("faiss: task %q: recall is %v, want 0…1", s.Task.Name, s.Recall)
	}
	return nil
}

// Stats is what an index says about itself.
type Stats struct {
	Total  int64           // vectors
	Dim    int             // length of a vector
	Metric pipeline.Metric // "" for a metric that Facet does not use
	// Imbalance is FAISS's factor of the inverted lists: 1 if all are equally long, and as many as there
	// are lists if one holds everything. 0 where there are no lists, or no vectors.
	Imbalance float64
	Type      string // the C++ class, through its wrappers: "IndexIDMap2(IndexHNSWFlat)"
}

// Report is what was measured of an index while it was being built. Figures that could not be
// measured (no queries, or fewer vectors than the figure is about) are nil.
type Report struct {
	Params  string // the search parameters chosen, as "nprobe=16"; they are stored in the file too
	Queries int    // held-out vectors that recall was measured with
	Vectors int64  // vectors in the index at the time, the held-out ones not among them

	// Recall10 is the share of the exact 10 nearest that a search for 10 finds. A vector that is as
	// near as the 10th, within a relative 1e-6, counts as one of them: galleries hold duplicates.
	Recall10 *float64
	// These are autofaiss's: of a search for 40, whether the exact nearest is among the first 20 or
	// 40 (OneRecall), and the share of the exact 20 or 40 among them (Intersection).
	OneRecall20, OneRecall40       *float64
	Intersection20, Intersection40 *float64

	// AverageMillis and P99Millis are of searches for 40, one query at a time.
	AverageMillis, P99Millis *float64
}
