package sinks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

// lastIndex is the parent's index of a task.
type lastIndex struct {
	TaskState
	files   []File // knn.index and index_infos.json
	vectors []File // the embeddings that it is of, in the order of shards
}

// keepUp names last night's index again, or updates it. An anew says why neither will do.
func (b IndexBuilder) keepUp(ctx context.Context, job IndexJob, factory string) (*BuiltIndex, error) {
	last, err := b.last(job)
	if err != nil {
		return nil, err
	}
	if last.Index.Factory != factory {
		return nil, anewf("the index type is %s, it was %s", factory, last.Index.Factory)
	}
	if last.Index.Asked == b.asked() && samePaths(last.vectors, job.Files) {
		return b.keep(ctx, last)
	}
	if !faiss.Updatable(factory) {
		return nil, anewf("%s cannot be updated, and something changed", factory)
	}
	if last.Digest != job.Digest {
		return nil, anew("the task's network changed, and all of its vectors with it")
	}
	return b.update(ctx, job, last)
}

// last finds the parent's index of the task.
func (b IndexBuilder) last(job IndexJob) (*lastIndex, error) {
	if b.Parent == nil {
		return nil, anew("there is no earlier index to go on from")
	}
	state, err := b.Parent.Task(job.Task.Name)
	if err != nil {
		return nil, anewf("the task is new: snapshot %s does not have it", b.Parent.Snapshot)
	}
	if state.Dim != job.Task.Dim || state.Metric != job.Task.Metric {
		return nil, anewf("the task has %d numbers compared by %s, it had %d compared by %s",
			job.Task.Dim, job.Task.Metric, state.Dim, state.Metric)
	}
	index, infos := b.Parent.Select(Index, job.Task.Name), b.Parent.Select(IndexInfos, job.Task.Name)
	if len(index) != 1 || len(infos) != 1 || state.Index.Origin.Trained == "" {
		return nil, anewf("snapshot %s does not say how its index came about", b.Parent.Snapshot)
	}
	return &lastIndex{TaskState: state, files: append(index, infos...), vectors: b.Parent.Select(Embedding, job.Task.Name)}, nil
}

// samePaths compares lists of files, which are named by their content.
func samePaths(a, b []File) bool {
	return slices.EqualFunc(a, b, func(x, y File) bool { return x.Path == y.Path })
}

// keep names the files again, if they are still there.
func (b IndexBuilder) keep(ctx context.Context, last *lastIndex) (*BuiltIndex, error) {
	for _, f := range last.files {
		r, ref, err := b.Objects.OpenRange(ctx, f.Path, 0, 1)
		if err == nil {
			r.Close()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrRange) || err == nil && ref.Size != f.Bytes {
			return nil, anewf("no vector changed, but last night's %s is missing or not as long as it was", f.Path)
		}
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", f.Path, err)
		}
	}
	index := last.Index
	index.Origin.How, index.Origin.Why = kept, "no vector changed"
	return &BuiltIndex{Task: last.Name, Index: index, Files: last.files}, nil
}

// update is one update of an index.
type update struct {
	IndexBuilder
	job   IndexJob
	last  *lastIndex
	n     int64 // vectors of tonight
	split faiss.Split
	delta
}

func (b IndexBuilder) update(ctx context.Context, job IndexJob, last *lastIndex) (*BuiltIndex, error) {
	n := vectorCount(job.Files)
	u := &update{IndexBuilder: b, job: job, last: last, n: n, split: faiss.NewSplit(int(n), b.held(int(n)), 0)}
	if err := u.compare(ctx); err != nil {
		return nil, err
	}
	o, err := u.origin()
	if err != nil {
		return nil, err
	}
	fb, spec, err := u.open(ctx)
	if err != nil {
		return nil, err
	}
	defer fb.Close()
	if err := u.fill(ctx, fb); err != nil {
		return nil, err
	}
	report, err := fb.Finish()
	if err != nil {
		return nil, err
	}
	return b.publish(ctx, fb, spec, n, report, func(s faiss.Stats) (Origin, error) { return u.judge(o, s, report) })
}

// origin counts the changes, and gives an update up that is known to be one too many.
func (u *update) origin() (Origin, error) {
	o := u.last.Index.Origin
	changed := u.left + u.came + u.replaced
	o.Changed += changed
	share := func(k int64) float64 { return 100 * float64(k) / float64(max(u.n, 1)) }
	if limit := 100 * u.Retrain.Changed; share(o.Changed) > limit {
		return o, anewf("%.1f %% of the vectors changed since training in snapshot %s, more than retrain.changed = %.1f %%",
			share(o.Changed), o.Trained, limit)
	}
	o.How = updated
	o.Why = fmt.Sprintf("%.1f %% of the vectors changed: %d left, %d came, %d were replaced; %.1f %% since training",
		share(changed), u.left, u.came, u.replaced, share(o.Changed))
	return o, nil
}

// open starts a child with a copy of last night's index. An index that is damaged stops nothing.
func (u *update) open(ctx context.Context) (*faiss.Builder, faiss.Spec, error) {
	spec := faiss.Spec{Task: u.job.Task, Factory: u.last.Index.Factory, Threads: u.Threads, Recall: u.Target}
	local, err := createLocal(u.Dir, "last-*.index")
	if err != nil {
		return nil, spec, err
	}
	defer local.discard()
	spec.Update = local.f.Name()
	if err := u.Parent.Download(ctx, u.last.files[0], spec.Update); err != nil {
		return nil, spec, u.blame("last night's index", err)
	}
	fb, err := faiss.Start(ctx, spec)
	if err != nil && ctx.Err() == nil {
		err = anewf("last night's index cannot be read: %v", err)
	}
	return fb, spec, err
}

// blame gives the update up if the error is that a file of last night's is damaged. Other errors, as
// of a store that is down, say nothing about it.
func (u *update) blame(what string, err error) error {
	if errors.Is(err, ErrDamaged) {
		return anewf("%s cannot be used: %v", what, err)
	}
	return err
}

// fill brings the index up to tonight's vectors. The queries are taken out of it first and added by
// Finish, so that recall means what it means of a new index.
func (u *update) fill(ctx context.Context, fb *faiss.Builder) error {
	if err := u.holdOutSame(ctx); err != nil {
		return err
	}
	slices.Sort(u.gone)
	if err := fb.Remove(u.gone); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return anewf("last night's index is not of last night's vectors: %v", err)
	}
	if err := fb.HoldOut(u.queries.IDs, u.queries.Data); err != nil {
		return err
	}
	dim := u.job.Task.Dim
	return u.each(ctx, u.job.Files, dim, func(v Vectors) error {
		fresh := v.where(dim, func(id int64) bool { return !u.split.HeldOut(id) && u.isFresh(id) })
		if err := fb.Add(fresh.IDs, fresh.Data); err != nil {
			return err
		}
		old := v.where(dim, func(id int64) bool { return !u.split.HeldOut(id) && !u.isFresh(id) })
		return fb.Compare(old.IDs, old.Data)
	})
}

// recallNoise is how far two measured recalls of the same index may lie apart: the queries are others
// as images come and go. It is a standard error of the difference if each query found all of its
// neighbours or none, which is two to three times what they really scatter.
func recallNoise(recall float64, queries int) float64 {
	return max(0.01, math.Sqrt(2*recall*(1-recall)/float64(max(queries, 1))))
}

// judge completes an update's origin, or finds that the index has rotted.
func (u *update) judge(o Origin, s faiss.Stats, report faiss.Report) (Origin, error) {
	o.Imbalance = s.Imbalance
	if s.Total != u.n {
		return o, anewf("last night's index is not of last night's vectors: it would hold %d after the update, the embeddings are %d", s.Total, u.n)
	}
	if s.Imbalance > o.TrainedImbalance*u.Retrain.Imbalance {
		return o, anewf("the lists' imbalance is %.2f after an update, more than retrain.imbalance = %.2f times the %.2f after training",
			s.Imbalance, u.Retrain.Imbalance, o.TrainedImbalance)
	}
	if r := report.Recall10; r != nil && *r < u.Target && *r < o.TrainedRecall-recallNoise(*r, report.Queries) {
		return o, anewf("recall@10 is %.3f after an update, less than recall.target = %.3f and than the %.3f after training",
			*r, u.Target, o.TrainedRecall)
	}
	return o, nil
}
