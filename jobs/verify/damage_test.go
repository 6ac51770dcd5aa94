package verify

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
)

// flip changes the lowest bit of the byte at a share of the file.
func flip(share float64) func([]byte) []byte {
	return func(data []byte) []byte {
		data = slices.Clone(data)
		data[int(share*float64(len(data)-1))] ^= 1
		return data
	}
}

// damages of a single file, whatever it holds. nil removes it.
var damages = map[string]func([]byte) []byte{
	"missing":               nil,
	"cut by a byte":         func(d []byte) []byte { return d[:len(d)-1] },
	"a bit of its start":    flip(0),
	"a bit of its middle":   flip(0.5),
	"a bit of its last":     flip(1),
	"overwritten with text": func([]byte) []byte { return []byte("<html>502 Bad Gateway</html>") },
}

// Every file of a snapshot, its manifest and the pointer, damaged in every way.
func TestDamagedFilesAreFound(t *testing.T) {
	_, output := night(t, 36, "usage")
	p := copyOf(t, output)
	seen := map[sinks.Kind]bool{}
	files := []sinks.File{{Path: sinks.CurrentPath}, {Path: sinks.ManifestPath(p.Snapshot.Snapshot)}}
	for _, f := range p.Files {
		if !seen[f.Kind] {
			files = append(files, f)
		}
		seen[f.Kind] = true
	}
	for _, f := range files {
		whole := read(t, p.path(f))
		for what, damage := range damages {
			if damage == nil {
				if err := os.Remove(p.path(f)); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, p.path(f), damage(whole))
			}
			if f.Path == sinks.CurrentPath && (damage == nil || strings.Contains(what, "byte")) {
				continue // nothing is published then, or the JSON is the same
			}
			r, err := Run(t.Context(), p.dir)
			if !errors.Is(err, ErrDifferences) || len(r.Differences) == 0 {
				t.Errorf("%s, %s: %v", f.Path, what, err)
				continue
			}
			if f.Kind != "" && !slices.Equal(r.Damaged, []string{f.Path}) {
				t.Errorf("%s, %s: %v are blamed", f.Path, what, r.Damaged)
			}
		}
		write(t, p.path(f), whole)
	}
	if r, err := Run(t.Context(), p.dir); err != nil {
		t.Errorf("repaired: %v: %v", err, r)
	}
}

// vectorsOf are one row's of a task.
func vectorOf(p *published, vectors [][]float32, task, row int) []float32 {
	d := p.Tasks[task].Dim
	return vectors[task][row*d : (row+1)*d]
}

// corruptions are what digests of files can't show, since the digests were mended, too.
var corruptions = map[string]struct {
	spoil func(*published)
	says  string
}{
	"embeddings of two shards swapped": {func(p *published) {
		a, b := p.file(sinks.Embedding, "usage", 0), p.file(sinks.Embedding, "usage", 1)
		a.Shard, b.Shard = b.Shard, a.Shard
	}, "not those of the shard's items"},
	"items of two shards swapped": {func(p *published) {
		a, b := p.file(sinks.Items, "", 0), p.file(sinks.Items, "", 1)
		a.Shard, b.Shard = b.Shard, a.Shard
	}, "does not belong to shard"},
	"embeddings of two tasks swapped": {func(p *published) {
		a, b := p.file(sinks.Embedding, "usage", 0), p.file(sinks.Embedding, "gender", 0)
		a.Task, b.Task = b.Task, a.Task
	}, "vectors are not those of the embeddings"},
	"indexes of two tasks swapped": {func(p *published) {
		for i := range p.Files {
			f := &p.Files[i]
			if f.Kind == sinks.Index || f.Kind == sinks.IndexInfos {
				f.Task = map[string]string{"usage": "gender", "gender": "usage"}[f.Task]
			}
		}
		p.Tasks[0].Index, p.Tasks[1].Index = p.Tasks[1].Index, p.Tasks[0].Index
	}, "are not those of the embeddings"},
	"an items file with wrong rows":  {func(p *published) { p.file(sinks.Items, "", 0).Rows++ }, "rows, the manifest says"},
	"an index with wrong rows":       {func(p *published) { p.file(sinks.Index, "usage", 0).Rows++ }, "vectors, the manifest says"},
	"a quarantine with wrong rows":   {func(p *published) { p.file(sinks.QuarantineTable, "", 0).Rows++ }, "rows, the manifest says"},
	"a file with wrong bytes":        {func(p *published) { p.file(sinks.Embedding, "usage", 0).Bytes++ }, "the manifest says"},
	"a file without a digest":        {func(p *published) { p.file(sinks.Embedding, "usage", 0).SHA256 = "" }, "has no SHA-256"},
	"a ledger with an image too few": {func(p *published) { p.Ledger.Listed--; p.Ledger.Embedded--; p.Ledger.New-- }, "rows of usage"},
	"a balanced ledger with an image too few": {func(p *published) {
		p.Ledger.Listed, p.Ledger.Embedded, p.Ledger.New = p.Ledger.Listed-1, p.Ledger.Embedded-1, p.Ledger.New-1
		for name, l := range p.Ledger.Tasks {
			p.Ledger.Tasks[name] = sinks.TaskLedger{Rows: l.Rows - 1, NTotal: l.NTotal - 1}
		}
	}, "the items hold"},
	"a reject that is accounted for as an image": {func(p *published) {
		p.Ledger.Quarantined, p.Ledger.Embedded = p.Ledger.Quarantined-1, p.Ledger.Embedded+1
		p.Ledger.Reasons[pipeline.Empty]--
	}, "in quarantine, it holds 3"},
	"reasons exchanged": {func(p *published) {
		p.Ledger.Reasons[pipeline.Empty]--
		p.Ledger.Reasons[pipeline.Gone]++
	}, "images gone, the ledger says 1"},
	"a ledger with a past": {func(p *published) { p.Ledger.Previous, p.Ledger.Deleted = 10, 10 }, "without a parent"},
	"a ledger of another task": {func(p *published) {
		p.Ledger.Tasks["shape"] = p.Ledger.Tasks["usage"]
	}, "the snapshot has 2"},
	"more computed than there are": {func(p *published) {
		l := p.Ledger.Tasks["usage"]
		l.Computed = l.Rows + 1
		p.Ledger.Tasks["usage"] = l
	}, "of them computed"},
	"ids allotted anew":             {func(p *published) { p.Shards.NextSequence[p.file(sinks.Items, "", 0).Shard] = 2 }, "never allotted"},
	"no items of a shard":           {func(p *published) { p.drop(sinks.Items, "") }, "not those of the shard's items"},
	"no embeddings of a shard":      {func(p *published) { p.drop(sinks.Embedding, "gender") }, "has items and no embeddings"},
	"no quarantine":                 {func(p *published) { p.drop(sinks.QuarantineTable, "") }, "0 quarantines"},
	"no index":                      {func(p *published) { p.drop(sinks.Index, "usage") }, "want one"},
	"no index infos":                {func(p *published) { p.drop(sinks.IndexInfos, "usage") }, "0 index infos"},
	"no model":                      {func(p *published) { p.drop(sinks.Model, "") }, "the models are"},
	"a file named twice":            {func(p *published) { p.Files = append(p.Files, *p.file(sinks.Items, "", 0)) }, "is named twice"},
	"another task's digest":         {func(p *published) { p.Tasks[0].Digest, p.Tasks[1].Digest = p.Tasks[1].Digest, p.Tasks[0].Digest }, "of the model has the digest"},
	"another preprocessing":         {func(p *published) { p.Model.Preprocess.Filter = "bicubic" }, "the preprocessing has the digest"},
	"another model":                 {func(p *published) { p.Model.SHA256 = strings.Repeat("0", 64) }, "the models are"},
	"another metric":                {func(p *published) { p.Tasks[0].Metric = pipeline.L2 }, "compares by"},
	"another length of vectors":     {func(p *published) { p.Tasks[0].Dim = 64 }, "want 64 float32"},
	"attributes that are not there": {func(p *published) { p.Attributes = []string{"colour"} }, "0 attributes, the manifest names 1"},
	"parameters that are none":      {func(p *published) { p.Tasks[0].Index.Params = "nprobe=many" }, "nprobe"},
	"a gate with a better figure":   {func(p *published) { p.check("deleted").Value = -1 }, `check "deleted"`},
	"a gate that was failed":        {func(p *published) { p.check("spread").Value = 0 }, `check "spread"`},
	"a gate with a check less": {func(p *published) {
		p.Gate = slices.DeleteFunc(p.Gate, func(c sinks.Check) bool { return c.Name == "deleted" })
	}, `no check "deleted"`},
	"a refused snapshot that nobody accepted": {func(p *published) {
		c := p.check("spread")
		c.Value, c.OK = 0, false
	}, "nobody accepted"},
	"two vectors exchanged": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(_ []*pipeline.Item, v [][]float32) {
			a, b := vectorOf(p, v, 0, 0), vectorOf(p, v, 0, 1)
			for i := range a {
				a[i], b[i] = b[i], a[i]
			}
		})
	}, "2 of 36 vectors are not those of the embeddings"},
	"a vector that points elsewhere": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(_ []*pipeline.Item, v [][]float32) {
			for i, x := range vectorOf(p, v, 1, 2) {
				vectorOf(p, v, 1, 2)[i] = -x
			}
		})
	}, "1 of 36 vectors are not those of the embeddings"},
	"a vector of another length": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(_ []*pipeline.Item, v [][]float32) { vectorOf(p, v, 0, 0)[0] += 2 })
	}, "promised is unit length"},
	"a vector that is no number": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(_ []*pipeline.Item, v [][]float32) { vectorOf(p, v, 0, 0)[0] = float32(math.NaN()) })
	}, "NaN or infinity"},
	"exchanged vectors below the old name": {func(p *published) {
		f := p.file(sinks.Embedding, "usage", 0)
		old := f.Path
		p.rewrite(f.Shard, func(_ []*pipeline.Item, v [][]float32) { vectorOf(p, v, 0, 0)[0] *= 1.00001 }, sinks.Embedding)
		write(p.T, filepath.Join(p.dir, old), read(p.T, p.path(*f)))
		f.Path = old
	}, "its name is that of another content"},
	"an Arrow file with other rows": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(items []*pipeline.Item, _ [][]float32) { items[0].ETag = "x" }, sinks.ItemsArrow)
	}, "not those of the Parquet file"},
	"a key twice": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(items []*pipeline.Item, _ [][]float32) { items[1].Key = items[0].Key })
	}, "occurs twice"},
	"a key of another shard": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(items []*pipeline.Item, _ [][]float32) {
			items[0].Key = p.rows(p.file(sinks.Items, "", 1).Shard).Items[0].Key
		})
	}, "does not belong to shard"},
	"an id that was given to nobody": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(items []*pipeline.Item, _ [][]float32) { items[len(items)-1].ID += 1000 })
	}, "never allotted"},
	"rows in another order": {func(p *published) {
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(items []*pipeline.Item, _ [][]float32) { slices.Reverse(items) })
	}, "do not rise"},
	"an index of exchanged vectors": {func(p *published) {
		right := slices.Clone(p.Files)
		p.rewrite(p.file(sinks.Items, "", 0).Shard, func(_ []*pipeline.Item, v [][]float32) {
			copy(vectorOf(p, v, 0, 0), vectorOf(p, v, 0, 1))
		})
		wrong := p.Select(sinks.Embedding, p.Tasks[0].Name)
		p.Files = right
		p.reindex(p.Tasks[0].Name, wrong)
	}, "1 of 36 vectors are not those of the embeddings"},
	"an index of fewer images": {func(p *published) {
		p.reindex("usage", p.Select(sinks.Embedding, "usage")[1:])
	}, "image ids are not those of the items"},
	"an image that is in quarantine, too": {func(p *published) {
		it := p.rows(p.file(sinks.Items, "", 0).Shard).Items[0]
		rows := p.rejects()
		rows[0].ID, rows[0].Key, rows[0].Text = it.ID, it.Key, it.Key
		p.quarantine(rows)
	}, "is an item and in quarantine"},
	"a reject twice": {func(p *published) {
		rows := p.rejects()
		rows[1].ID, rows[1].Key, rows[1].Text = rows[0].ID, rows[0].Key, rows[0].Text
		p.quarantine(rows)
	}, "is there twice"},
	"a reject with the id of another shard": {func(p *published) {
		rows := p.rejects()
		rows[0].ID ^= 1 << pipeline.ShardShift
		p.quarantine(rows)
	}, "never allotted"},
}

// check finds a check of the gate.
func (p *published) check(name string) *sinks.Check {
	p.Helper()
	i := slices.IndexFunc(p.Gate, func(c sinks.Check) bool { return c.Name == name })
	if i < 0 {
		p.Fatalf("the gate has no check %q", name)
	}
	return &p.Gate[i]
}

// Damage that whoever did it has covered up: the digests in the manifest, and the manifest's in CURRENT, are
// right.
func TestCorruptionsAreFound(t *testing.T) {
	_, output := night(t, 36, "usage", "gender")
	if r, err := Run(t.Context(), output); err != nil || r.Searched != 72 {
		t.Fatalf("%v: %v", err, r)
	}
	for what, c := range corruptions {
		p := copyOf(t, output)
		c.spoil(p)
		p.manifest()
		r, err := Run(t.Context(), p.dir)
		if !errors.Is(err, ErrDifferences) || !strings.Contains(strings.Join(r.Differences, "\n"), c.says) {
			t.Errorf("%s: %v, want %q in\n%v", what, err, c.says, r)
		}
	}
}

func TestPointersThatLeadNowhere(t *testing.T) {
	_, output := night(t, 12, "usage")
	for _, pointer := range []string{
		`{"snapshot":"20200101T000000Z-00000000","manifest_sha256":"00"}`, `{"snapshot":"../..","manifest_sha256":"00"}`, `{}`, `x`,
	} {
		write(t, filepath.Join(output, sinks.CurrentPath), []byte(pointer))
		if r, err := Run(t.Context(), output); !errors.Is(err, ErrDifferences) || len(r.Differences) != 1 {
			t.Errorf("%s: %v: %v", pointer, err, r)
		}
	}
}
