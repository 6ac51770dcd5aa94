package sinks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

// IndexJob is one task's index to be made from its published embeddings.
type IndexJob struct {
	Task    pipeline.Task
	Digest  string // of the task, as TaskState has it: with another one every vector is another
	Factory string // "auto", or a FAISS factory string
	Files   []File // the task's embeddings, in the order of shards
}

// BuiltIndex is a stored index. Its Origin.Trained is empty when it was trained tonight: Indexed, who
// knows the snapshot's name, fills it in.
type BuiltIndex struct {
	Task  string
	Index TaskIndex
	Files []File // knn.index and index_infos.json
}

// IndexBuilder makes and stores indexes: it keeps up last night's where that does as well, and builds
// the others anew. What comes out depends on the builder's fields and the job alone; see Inputs. It
// is a pipeline.Stage, safe for several workers.
//
// It reads the embeddings back from the store rather than taking them from the flow: the index is of
// what was published, each file is compared with its digest on the way, and an index can be built
// again from a snapshot alone.
type IndexBuilder struct {
	Objects store.Store
	Parent  *Snapshot // last night's; nil builds all anew
	Dir     string    // local folder for the index file
	Memory  int64     // bytes that an index chosen by "auto" may take
	Queries int       // vectors to hold out
	Target  float64
	Threads int // OpenMP threads an index; more than 1 gives up identical bytes for HNSW
	Retrain Retrain
}

// Retrain says when an index with inverted lists is trained anew instead of being updated. With the
// zero value every change does it.
type Retrain struct {
	Changed   float64 // share of the vectors that left, came or were replaced since training
	Imbalance float64 // of the lists, times that after training
}

// Process implements pipeline.Stage.
func (b IndexBuilder) Process(ctx context.Context, job IndexJob) (*BuiltIndex, error) {
	made, err := b.make(ctx, job)
	if err != nil {
		return nil, fmt.Errorf("index of task %q: %w", job.Task.Name, err)
	}
	return made, nil
}

func (b IndexBuilder) make(ctx context.Context, job IndexJob) (*BuiltIndex, error) {
	factory, err := b.factory(job)
	if err != nil {
		return nil, err
	}
	made, err := b.keepUp(ctx, job, factory)
	var why anew
	if errors.As(err, &why) {
		return b.build(ctx, job, factory, string(why))
	}
	return made, err
}

// anew is why an index has to be built anew, on its way to where that is done.
type anew string

// Error implements error.
func (a anew) Error() string { return string(a) }

func anewf(format string, args ...any) error { return anew(fmt.Sprintf(format, args...)) }

func (b IndexBuilder) factory(job IndexJob) (string, error) {
	factory := job.Factory
	if factory == "auto" || factory == "" {
		factory = faiss.Choose(int(vectorCount(job.Files)), job.Task.Dim, b.Memory)
	}
	return faiss.Resolve(factory)
}

func (b IndexBuilder) asked() Asked { return Asked{Queries: b.Queries, Target: b.Target} }

// vectorCount is the number of rows of files.
func vectorCount(files []File) int64 {
	var n int64
	for _, f := range files {
		n += f.Rows
	}
	return n
}

// held is how many of n vectors are held out: the number asked for, but no more than a tenth, so that
// a small gallery keeps enough to be searched.
func (b IndexBuilder) held(n int) int { return min(b.Queries, n/10) }

// inputsVersion changes when the same inputs come to another index.
const inputsVersion = 1

// Inputs is a digest of all that decides what Process makes of a job: the embeddings by their
// content, the wishes, and the index that it would keep up. An index that was made for the same
// inputs can be taken instead of being made again.
func (b IndexBuilder) Inputs(job IndexJob) (string, error) {
	all := struct {
		Version        int
		Job            IndexJob
		Memory         int64
		Asked          Asked
		Threads        int
		Retrain        Retrain
		Last           TaskState
		Index, Vectors []File
	}{Version: inputsVersion, Job: job, Memory: b.Memory, Asked: b.asked(), Threads: b.Threads, Retrain: b.Retrain}
	if b.Parent != nil {
		if state, err := b.Parent.Task(job.Task.Name); err == nil {
			all.Last = state
		}
		all.Index = b.Parent.Select(Index, job.Task.Name)
		all.Vectors = b.Parent.Select(Embedding, job.Task.Name)
	}
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(all); err != nil {
		return "", fmt.Errorf("digest of the inputs of index %q: %w", job.Task.Name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
