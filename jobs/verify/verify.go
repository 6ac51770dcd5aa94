// Package verify is the job `facet verify`: it reads a published snapshot again, all of it, and
// compares everything with everything that it should agree with.
package verify

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

// ErrDifferences means that the snapshot is not what its manifest says.
var ErrDifferences = errors.New("the snapshot differs from its manifest")

// Options say what is verified, and how far.
type Options struct {
	Output   string
	Snapshot string // id; "" for the one that CURRENT names
	// Deep computes the embeddings of Sample images again, from the images at Gallery, or where the
	// manifest says that they are.
	Deep    bool
	Sample  int
	Gallery string
}

// Report is what was checked and what was found.
type Report struct {
	Snapshot    string   `json:"snapshot"`
	Files       int      `json:"files"`
	Bytes       int64    `json:"bytes"`
	Images      int64    `json:"images"`
	Vectors     int64    `json:"vectors"`
	Searched    int64    `json:"searched"` // vectors that were searched for in their index
	Differences []string `json:"differences"`
	Damaged     []string `json:"damaged"` // paths of the files that are at fault themselves, each once
	Deep        *Deep    `json:"deep,omitempty"`
}

// mostDifferences bounds the report: a snapshot that is wrong throughout needs no more examples.
const mostDifferences = 1000

// Run verifies the snapshot that CURRENT names.
func Run(ctx context.Context, output string) (*Report, error) {
	return Check(ctx, Options{Output: output})
}

// Check verifies a snapshot. The report is nil where there is none to verify; the error is an
// ErrDifferences if it lists any.
func Check(ctx context.Context, o Options) (*Report, error) {
	if o.Output == "" {
		return nil, fmt.Errorf("%w: verify wants --output", jobfile.ErrConfig)
	}
	objects, err := store.Open(ctx, o.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	snapshot, err := open(ctx, objects, o.Snapshot)
	if errors.Is(err, sinks.ErrDamaged) {
		return &Report{Snapshot: o.Snapshot, Differences: []string{err.Error()}}, fmt.Errorf("%w: %w", ErrDifferences, err)
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "facet-verify-")
	if err != nil {
		return nil, fmt.Errorf("scratch folder: %w", err)
	}
	defer os.RemoveAll(dir)
	v := newVerifier(o, objects, snapshot, dir)
	if err := v.run(ctx); err != nil {
		return nil, err
	}
	if n := len(v.Differences); n > 0 {
		return &v.Report, fmt.Errorf("%w: %d differences", ErrDifferences, n)
	}
	return &v.Report, nil
}

func open(ctx context.Context, objects store.Store, id string) (*sinks.Snapshot, error) {
	if id != "" {
		return sinks.OpenSnapshot(ctx, objects, id)
	}
	return sinks.OpenCurrent(ctx, objects)
}

type verifier struct {
	Report
	options  Options
	objects  store.Store
	snapshot *sinks.Snapshot
	dir      string
	ids      faiss.IDSet       // of all items
	items    map[int]shardSum  // the items' ids, by shard
	tables   map[string]uint64 // digests of the Parquet tables' rows, by what they are of
	rejects  map[int64]string  // keys of the quarantine, by id
	rejected map[string]bool   // the same keys
	rows     map[string]int64  // of embeddings, by task
	unread   map[int]bool      // shards whose items can't be read
	blamed   map[string]bool   // what Damaged lists
	sample   map[string]*sample
	split    faiss.Split
	deep     deepSample
}

func newVerifier(o Options, objects store.Store, s *sinks.Snapshot, dir string) *verifier {
	v := &verifier{
		Report:  Report{Snapshot: s.Snapshot, Differences: []string{}, Damaged: []string{}},
		options: o, objects: objects, snapshot: s, dir: dir,
		items: map[int]shardSum{}, tables: map[string]uint64{}, rejects: map[int64]string{}, rejected: map[string]bool{},
		rows: map[string]int64{}, sample: map[string]*sample{},
		unread: map[int]bool{}, blamed: map[string]bool{},
	}
	var n int64
	for _, f := range s.Select(sinks.Items, "") {
		n += f.Rows
	}
	v.split = faiss.NewSplit(int(n), 0, searches)
	v.deep = newDeepSample(o, int(n))
	return v
}

func (v *verifier) differ(format string, args ...any) {
	if len(v.Differences) < mostDifferences {
		v.Differences = append(v.Differences, fmt.Sprintf(format, args...))
	}
}

// blame notes a difference that is a file's own.
func (v *verifier) blame(f sinks.File, format string, args ...any) {
	v.differ("%s: %s", f.Path, fmt.Sprintf(format, args...))
	v.suspect(f)
}

// suspect takes a file for damaged.
func (v *verifier) suspect(f sinks.File) {
	if !v.blamed[f.Path] {
		v.Damaged = append(v.Damaged, f.Path)
	}
	v.blamed[f.Path] = true
}

// tolerate turns damage into a difference and passes other errors on: a store that is down says
// nothing about the snapshot.
func (v *verifier) tolerate(f sinks.File, err error) error {
	if errors.Is(err, sinks.ErrDamaged) {
		v.blame(f, "%v", err)
		return nil
	}
	return err
}

func (v *verifier) run(ctx context.Context) error {
	v.structure()
	steps := []func(context.Context) error{
		v.checkPointer, v.checkQuarantine, v.checkItems, v.checkEmbeddings, v.checkArrow, v.checkInfos, v.checkModel, v.checkIndexes,
		v.checkParent, v.checkDeep,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	v.checkLedger()
	v.checkGate()
	return nil
}
