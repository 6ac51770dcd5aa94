package sinks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/facet-search/facet/pipeline"
)

// FormatVersion is the version of the manifest and of every file that it names. A reader refuses
// what is newer than itself.
const FormatVersion = 1

// Kind says what a file of a snapshot holds.
type Kind string

const (
	Items           Kind = "items"
	Embedding       Kind = "embeddings"
	ItemsArrow      Kind = "items.arrow"
	EmbeddingArrow  Kind = "embeddings.arrow"
	QuarantineTable Kind = "quarantine"
	Index           Kind = "index"
	IndexInfos      Kind = "index_infos"
	Model           Kind = "model"
)

// File is one immutable object of a snapshot.
type File struct {
	Path   string `json:"path"` // relative to the output's root
	Kind   Kind   `json:"kind"`
	Task   string `json:"task,omitempty"`
	Shard  int    `json:"shard"`
	Rows   int64  `json:"rows"` // vectors for an index, 0 where it has no meaning
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// TaskState is what a snapshot holds of one task.
type TaskState struct {
	pipeline.Task
	Digest string `json:"digest"` // of the subgraph and weights that the task's output depends on
	// Index is the task's index; its recall and search parameters are those measured when it was built.
	Index TaskIndex `json:"index"`
}

// TaskIndex describes a published FAISS index.
type TaskIndex struct {
	Path    string  `json:"path"` // the knn.index among the files
	Factory string  `json:"factory"`
	Params  string  `json:"params"` // search parameters, as FAISS's ParameterSpace takes them
	NTotal  int64   `json:"ntotal"`
	Recall  float64 `json:"recall@10"` // against exact search on held-out queries; -1 when there are too few vectors
	Queries int     `json:"recall_queries"`
	Asked   Asked   `json:"asked"`
	Origin  Origin  `json:"origin"`
}

// Asked is what a job wanted of an index's recall: with other wishes it is measured again.
type Asked struct {
	Queries int     `json:"queries"` // vectors to hold out, at most
	Target  float64 `json:"target"`  // recall@10 that search parameters are raised for
}

// How a night came by an index.
const (
	built   = "built"
	updated = "updated" // what left removed, what came added
	kept    = "kept"    // the same file
)

// Origin says how a night came by an index, and what the next one needs to know to keep it up.
type Origin struct {
	How string `json:"how"` // built, updated or kept
	Why string `json:"why"` // what decided that, with its figure
	// Trained is the snapshot whose vectors the index was trained on, and Changed how many vectors left,
	// came or were replaced since, both over the whole chain of updates.
	Trained string `json:"trained"`
	Changed int64  `json:"changed"`
	// Imbalance is FAISS's factor of the inverted lists, 1 when all are equally long: as it was after
	// training, and now. 0 where there are no lists.
	TrainedImbalance float64 `json:"trained_imbalance,omitempty"`
	Imbalance        float64 `json:"imbalance,omitempty"`
	// TrainedRecall is recall@10 as it was after training; what lies below that may be won back by
	// training anew.
	TrainedRecall float64 `json:"trained_recall@10,omitempty"`
}

// ModelState says which network made the embeddings.
type ModelState struct {
	Path       string              `json:"path"` // the copy among the files
	SHA256     string              `json:"sha256"`
	Preprocess pipeline.Preprocess `json:"preprocess"`
	// PreprocessDigest and the tasks' digests decide whether an embedding may be used again.
	PreprocessDigest string `json:"preprocess_digest"`
	Engine           string `json:"engine"`
}

// ShardState is the partition of the keys. Count never changes once a first snapshot has set it.
type ShardState struct {
	Count int    `json:"count"`
	Hash  string `json:"hash"` // "xxh64": a key's shard is the top bits of its XXH64
	// NextSequence is, for each shard, the first sequence that no key has ever had.
	NextSequence []int64 `json:"next_sequence"`
}

// Manifest describes a snapshot completely. It is the only list of a snapshot's files: folders hold
// files of other snapshots too.
type Manifest struct {
	Format     int         `json:"format"`
	Snapshot   string      `json:"snapshot"`
	Parent     *string     `json:"parent"`
	Created    time.Time   `json:"created"`
	Facet      string      `json:"facet"`
	Gallery    string      `json:"gallery,omitempty"` // address of the images, which keys are below; without credentials
	Model      ModelState  `json:"model"`
	Tasks      []TaskState `json:"tasks"`
	Attributes []string    `json:"attributes"` // names of the items' further columns
	Settings   string      `json:"settings"`   // digest of what else in the job decides what is published: indexes, recall, format
	Shards     ShardState  `json:"shards"`
	Ledger     Ledger      `json:"ledger"`
	Gate       []Check     `json:"gate"` // what was checked before CURRENT was to move
	Files      []File      `json:"files"`
}

// Check is one figure that a snapshot was held against before it was published.
type Check struct {
	Name  string  `json:"name"`           // "ledger", "recall", "neighbours", "centroid", "norm", "spread", "rejected", "deleted", "parent"
	Task  string  `json:"task,omitempty"` // "" where it is about all
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	OK    bool    `json:"ok"`
	Text  string  `json:"text"` // the check in words, with figure and limit
}

// Ledger accounts for every image that was listed: each is embedded, reused or quarantined. It also
// says how this listing came out of the last: previous + new - deleted = listed.
type Ledger struct {
	Listed      int64                     `json:"listed"`   // distinct keys
	Embedded    int64                     `json:"embedded"` // images that went through the model tonight, for one task at least
	Reused      int64                     `json:"reused"`   // images all of whose vectors are of an earlier night
	Quarantined int64                     `json:"quarantined"`
	Reasons     map[pipeline.Reason]int64 `json:"reasons"`
	Duplicates  int64                     `json:"duplicates"` // keys that the listing named again
	Skipped     int64                     `json:"skipped"`    // objects that are no candidates: folder markers, excluded names
	Previous    int64                     `json:"previous"`   // what the parent listed; 0 without one
	New         int64                     `json:"new"`        // keys that the parent did not list
	Changed     int64                     `json:"changed"`    // keys of both with another etag or size
	Deleted     int64                     `json:"deleted"`    // keys of the parent's that are gone
	// Tasks counts, for each task, the rows of its embeddings and the vectors of its index.
	Tasks map[string]TaskLedger `json:"tasks"`
}

// TaskLedger is what a snapshot holds of one task.
type TaskLedger struct {
	Rows     int64 `json:"rows"`
	Computed int64 `json:"computed"` // of the rows, by the model tonight
	NTotal   int64 `json:"ntotal"`
}

// ErrUnbalanced means that a ledger does not add up: an image was lost or counted twice.
var ErrUnbalanced = errors.New("the ledger does not balance")

// Balance returns an ErrUnbalanced that names every sum that does not hold, or nil.
func (l Ledger) Balance() error {
	var errs []error
	check := func(what string, got, want int64) {
		if got != want {
			errs = append(errs, fmt.Errorf("%w: %s = %d, want %d", ErrUnbalanced, what, got, want))
		}
	}
	check("embedded + reused + quarantined", l.Embedded+l.Reused+l.Quarantined, l.Listed)
	check("previous + new - deleted", l.Previous+l.New-l.Deleted, l.Listed)
	var reasons int64
	for _, n := range l.Reasons {
		reasons += n
	}
	check("sum of the reasons", reasons, l.Quarantined)
	for name, t := range l.Tasks {
		check("rows of "+name, t.Rows, l.Embedded+l.Reused)
		check("ntotal of the index of "+name, t.NTotal, l.Embedded+l.Reused)
	}
	return errors.Join(errs...)
}

// Sort puts the files into an order that does not depend on the course of the night.
func (m *Manifest) Sort() {
	slices.SortFunc(m.Files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Task, b.Task), a.Shard-b.Shard, cmp.Compare(a.Path, b.Path))
	})
}

// Select returns the files of a kind and, unless it is "", of a task, in the order of shards.
func (m *Manifest) Select(k Kind, task string) []File {
	var fs []File
	for _, f := range m.Files {
		if f.Kind == k && (task == "" || f.Task == task) {
			fs = append(fs, f)
		}
	}
	slices.SortStableFunc(fs, func(a, b File) int { return a.Shard - b.Shard })
	return fs
}

// Task returns the state of a task by name.
func (m *Manifest) Task(name string) (TaskState, error) {
	var have []string
	for _, t := range m.Tasks {
		if t.Name == name {
			return t, nil
		}
		have = append(have, t.Name)
	}
	return TaskState{}, fmt.Errorf("snapshot %s has no task %q; it has %q", m.Snapshot, name, have)
}

// SnapshotsDir is where the manifests lie, below the output's root, each in a folder of its snapshot's id.
const SnapshotsDir = "snapshots"

// ManifestPath is where the manifest of a snapshot lies below the output's root.
func ManifestPath(snapshot string) string {
	return path.Join(SnapshotsDir, snapshot, "manifest.json")
}

// Encode returns the manifest's bytes.
func (m *Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b.Bytes(), nil
}

// ErrNewer means that a later version of Facet wrote what is to be read.
var ErrNewer = errors.New("written by a newer version")

// DecodeManifest reads and checks a manifest. What it names is inside the output's root: a path that
// is not is an error.
func DecodeManifest(data []byte) (*Manifest, error) {
	var version struct{ Format int }
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	switch version.Format {
	case 1:
	case 0:
		return nil, errors.New("decode manifest: it has no format version; is it a manifest of Facet's?")
	default:
		return nil, fmt.Errorf("decode manifest: %w: format %d, this program reads up to %d; update facet", ErrNewer, version.Format, FormatVersion)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return &m, m.check()
}

func (m *Manifest) check() error {
	n := m.Shards.Count
	if n < 1 || n&(n-1) != 0 || len(m.Shards.NextSequence) != n {
		return fmt.Errorf("decode manifest: %d shards with %d sequences; the count is a power of two and each has one",
			n, len(m.Shards.NextSequence))
	}
	for _, f := range m.Files {
		if f.Path == "" || path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == ".." || len(f.Path) > 2 && f.Path[:3] == "../" {
			return fmt.Errorf("decode manifest: file %q is not below the output", f.Path)
		}
		if f.Shard < 0 || f.Shard >= n || f.Rows < 0 || f.Bytes < 0 {
			return fmt.Errorf("decode manifest: file %q has shard %d, %d rows, %d bytes", f.Path, f.Shard, f.Rows, f.Bytes)
		}
	}
	for _, t := range m.Tasks {
		if err := t.Validate(); err != nil {
			return fmt.Errorf("decode manifest: %w", err)
		}
	}
	return nil
}
