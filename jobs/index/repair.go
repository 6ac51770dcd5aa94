package index

import (
	"context"
	"fmt"
	"slices"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/sinks"
)

// repair is a run that takes no listing but the current snapshot's own, and makes again what is damaged of it.
type repair struct {
	snapshot string   // that is to be repaired
	damaged  []string // paths of its files
	report   func(string)

	shards  map[int]bool             // to be made again
	lost    map[int]int64            // shards whose items can't be read, with their rows
	ids     map[int]map[string]int64 // what else says of their keys
	rejects int64                    // images of a quarantine that can't be read
}

// Repair publishes a snapshot that has what the current one should have: shards with damaged files are
// embedded again from their images, indexes are built from the embeddings, and all else is named again. report
// is told what could not be recovered. The configuration is that of a night; c.Output's current snapshot
// decides on tasks and attributes. An object is overwritten only with content that has its name.
func Repair(ctx context.Context, c Config, snapshot string, damaged []string, report func(string), p *progress.Progress) (*Result, error) {
	return perform(ctx, c, &repair{snapshot: snapshot, damaged: damaged, report: report}, p)
}

// openRepair puts what is whole of the current snapshot in its place, and its keys in that of the listing.
func (j *job) openRepair(ctx context.Context) error {
	r := j.repair
	if r == nil {
		return nil
	}
	if j.previous == nil || j.previous.Snapshot != r.snapshot {
		return fmt.Errorf("%w: snapshot %s is not the current one; only that can be repaired", jobfile.ErrConfig, r.snapshot)
	}
	if sum := j.model.Digests.File.String(); sum != j.previous.Model.SHA256 {
		return fmt.Errorf("%w: the model has SHA-256 %s, the snapshot was made with %s", jobfile.ErrConfig, sum, j.previous.Model.SHA256)
	}
	whole := j.previous
	j.previous = whole.Without(r.damaged)
	r.shards, r.lost, r.ids = map[int]bool{}, map[int]int64{}, map[int]map[string]int64{}
	r.judge(whole.Manifest, j.previous.Manifest)
	s := &survivors{job: j, whole: whole}
	if err := s.open(ctx); err != nil {
		return err
	}
	j.gallery.Close()
	j.gallery = s
	return nil
}

// judge finds the shards that are not whole: those that lost a file, or never had one of every kind.
func (r *repair) judge(whole, left *sinks.Manifest) {
	kinds := []sinks.Kind{sinks.Items, sinks.Embedding}
	if len(whole.Select(sinks.ItemsArrow, "")) > 0 {
		kinds = append(kinds, sinks.ItemsArrow, sinks.EmbeddingArrow)
	}
	files := map[int]int{}
	for _, f := range left.Files {
		if slices.Contains(kinds, f.Kind) {
			files[f.Shard]++
		}
	}
	want := len(kinds) / 2 * (1 + len(whole.Tasks))
	have := map[int]bool{}
	for _, f := range left.Select(sinks.Items, "") {
		have[f.Shard] = true
	}
	for _, f := range whole.Files {
		if slices.Contains(kinds, f.Kind) && files[f.Shard] != want {
			r.shards[f.Shard] = true
		}
		if f.Kind == sinks.Items && !have[f.Shard] {
			r.lost[f.Shard] = f.Rows
		}
	}
	if len(left.Select(sinks.QuarantineTable, "")) == 0 {
		r.rejects = whole.Ledger.Quarantined
	}
}

// forgotten is by how much more images are gone than the comparison can count: those that neither the items
// nor the quarantine tell of any more.
func (r *repair) forgotten() int64 {
	if r == nil {
		return 0
	}
	n := r.rejects
	for shard, rows := range r.lost {
		n += rows - int64(len(r.ids[shard]))
	}
	return n
}

// distrust tells the comparison what is damaged.
func (j *job) distrust(context.Context) error {
	r := j.repair
	if r == nil {
		return nil
	}
	j.reuse.past.Distrust(r.shards, r.ids)
	j.reuse.rules.Distrust = j.reuse.past.Distrusted
	j.manifest.Settings = j.previous.Settings
	j.manifest.Gallery = j.previous.Gallery
	if r.rejects > 0 {
		r.report(fmt.Sprintf("the quarantine is lost: its %d images will be tried under new ids by the next night", r.rejects))
	}
	return nil
}
