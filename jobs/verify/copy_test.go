package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild()
	os.Exit(m.Run())
}

// night publishes a snapshot of n images in several shards, three of which can't be read, with Arrow files.
func night(t *testing.T, n int, tasks ...string) (gallery, output string) {
	t.Helper()
	testenv.ONNXRuntime(t)
	gallery = testenv.Fashion(t, n)
	for name, data := range map[string]string{"empty.jpg": "", "page.jpg": "<html>", "text.jpg": "a text"} {
		write(t, filepath.Join(gallery, name), []byte(data))
	}
	c := index.Defaults()
	c.Gallery.Prefix, c.Output, c.Scratch = gallery, t.TempDir(), t.TempDir()
	c.Model.Path, c.Tasks = testenv.Shared(t, "models/fashion/model.onnx"), tasks
	c.ShardSize, c.Limits.Reject, c.Format = n/3, 0.5, "arrow"
	if _, err := index.Run(t.Context(), c, progress.Discard()); err != nil {
		t.Fatal(err)
	}
	return gallery, c.Output
}

// write makes a new file: others may be links to the one that was there.
func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// published is a copy of an output that a test may damage.
type published struct {
	*testing.T
	dir     string
	objects store.Store
	*sinks.Snapshot
}

func copyOf(t *testing.T, output string) *published {
	t.Helper()
	p := &published{T: t, dir: t.TempDir()}
	err := filepath.WalkDir(output, func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(p.dir, strings.TrimPrefix(path, output))
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o700))
		}
		return os.Link(path, to)
	})
	if err == nil {
		p.objects, err = store.Open(t.Context(), p.dir)
	}
	if err == nil {
		p.Snapshot, err = sinks.OpenCurrent(t.Context(), p.objects)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *published) path(f sinks.File) string { return filepath.Join(p.dir, f.Path) }

// manifest writes the manifest as it stands now, and CURRENT with its digest: whoever edits one can edit both.
func (p *published) manifest() {
	p.Helper()
	data, err := p.Encode()
	if err != nil {
		p.Fatal(err)
	}
	write(p.T, filepath.Join(p.dir, sinks.ManifestPath(p.Snapshot.Snapshot)), data)
	sum := sha256.Sum256(data)
	pointer, err := json.Marshal(sinks.Current{Snapshot: p.Snapshot.Snapshot, ManifestSHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		p.Fatal(err)
	}
	write(p.T, filepath.Join(p.dir, sinks.CurrentPath), pointer)
}

// file finds an entry of the manifest. n counts those of a kind and task.
func (p *published) file(k sinks.Kind, task string, n int) *sinks.File {
	p.Helper()
	for i := range p.Files {
		f := &p.Files[i]
		if f.Kind == k && f.Task == task {
			if n == 0 {
				return f
			}
			n--
		}
	}
	p.Fatalf("no %s of task %q", k, task)
	return nil
}

// drop takes an entry out of the manifest.
func (p *published) drop(k sinks.Kind, task string) {
	gone := *p.file(k, task, 0)
	var kept []sinks.File
	for _, f := range p.Files {
		if f != gone {
			kept = append(kept, f)
		}
	}
	p.Files = kept
}

// rewrite changes a shard's rows and writes its files of the given kinds anew, with the names, digests and
// counts that follow: nothing but the rows themselves is wrong then.
func (p *published) rewrite(shard int, change func(items []*pipeline.Item, vectors [][]float32), kinds ...sinks.Kind) {
	p.Helper()
	e := p.rows(shard)
	change(e.Items, e.Vectors)
	e.Items[len(e.Items)-1].Last = true
	var tasks []pipeline.Task
	for _, t := range p.Tasks {
		tasks = append(tasks, t.Task)
	}
	shards, err := sinks.NewShards(p.TempDir(), tasks, p.Attributes, true)
	if err != nil {
		p.Fatal(err)
	}
	s, done, err := shards.Gather(p.Context(), e)
	if err != nil || !done {
		p.Fatal(err, done)
	}
	for _, made := range s.Files {
		for i := range p.Files {
			f := &p.Files[i]
			if f.Kind != made.Kind || f.Task != made.Task || f.Shard != shard || !contains(kinds, f.Kind) {
				continue
			}
			*f = made.File
			write(p.T, p.path(*f), read(p.T, made.Local))
		}
	}
}

func contains(kinds []sinks.Kind, k sinks.Kind) bool {
	for _, want := range kinds {
		if want == k {
			return true
		}
	}
	return len(kinds) == 0
}

// rows are a shard's.
func (p *published) rows(shard int) *pipeline.Embeddings {
	p.Helper()
	e := &pipeline.Embeddings{Vectors: make([][]float32, len(p.Tasks))}
	for _, f := range p.Files {
		var err error
		switch {
		case f.Shard != shard:
		case f.Kind == sinks.Items:
			err = p.EachItem(p.Context(), f, func(r sinks.Row) error {
				ref := pipeline.Ref{Key: r.Key, ETag: r.ETag, Size: r.Bytes}
				e.Items = append(e.Items, &pipeline.Item{ID: r.ID, Ref: ref, Width: r.Width, Height: r.Height, ContentHash: r.ContentHash})
				return nil
			})
		case f.Kind == sinks.Embedding:
			for i, t := range p.Tasks {
				if t.Name != f.Task {
					continue
				}
				err = p.EachVectors(p.Context(), f, t.Dim, func(v sinks.Vectors) error {
					e.Vectors[i] = append(e.Vectors[i], v.Data...)
					return nil
				})
			}
		}
		if err != nil {
			p.Fatal(err)
		}
	}
	return e
}

// reindex builds the index of a task from other embeddings than the manifest's, and puts it in the place of
// the right one.
func (p *published) reindex(task string, files []sinks.File) {
	p.Helper()
	t, err := p.Task(task)
	if err != nil {
		p.Fatal(err)
	}
	b := sinks.IndexBuilder{Objects: p.objects, Dir: p.TempDir(), Memory: 1 << 30, Queries: 5, Target: 0.9, Threads: 1}
	built, err := b.Process(p.Context(), sinks.IndexJob{Task: t.Task, Factory: t.Index.Factory, Files: files})
	if err != nil {
		p.Fatal(err)
	}
	p.drop(sinks.Index, task)
	p.drop(sinks.IndexInfos, task)
	p.Files = append(p.Files, built.Files...)
	for i := range p.Tasks {
		if p.Tasks[i].Name == task {
			p.Tasks[i].Index = built.Index
		}
	}
}

// quarantine writes another quarantine.
func (p *published) quarantine(rows []sinks.Quarantined) {
	p.Helper()
	p.drop(sinks.QuarantineTable, "")
	m := &sinks.Manifest{Snapshot: p.Snapshot.Snapshot}
	c := sinks.NewCollect(p.objects, p.TempDir(), m, 100)
	shard := &sinks.Shard{Quarantined: rows}
	if err := c.Write(p.Context(), shard); err != nil {
		p.Fatal(err)
	}
	if err := c.Commit(p.Context()); err != nil {
		p.Fatal(err)
	}
	p.Files = append(p.Files, m.Files...)
}

// rejects are the rows of the quarantine.
func (p *published) rejects() (rows []sinks.Quarantined) {
	p.Helper()
	data, err := p.ReadFile(p.Context(), *p.file(sinks.QuarantineTable, "", 0))
	if err == nil {
		err = sinks.ReadQuarantine(p.Context(), data, func(q sinks.Quarantined) error {
			rows = append(rows, q)
			return nil
		})
	}
	if err != nil {
		p.Fatal(err)
	}
	return rows
}
