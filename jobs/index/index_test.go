package index

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/jobs/search"
	"github.com/facet-search/facet/jobs/verify"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild()
	os.Exit(m.Run())
}

// night is a configuration for the reference model.
func night(t *testing.T, gallery, output string) Config {
	t.Helper()
	testenv.ONNXRuntime(t)
	c := Defaults()
	c.Gallery.Prefix, c.Output = gallery, output
	c.Model.Path = testenv.Shared(t, "models/fashion/model.onnx")
	c.Scratch = t.TempDir()
	return c
}

// run runs a job that must succeed and leave nothing in its scratch folder.
func run(t *testing.T, c Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	checkScratch(t, c)
	return r
}

func checkScratch(t *testing.T, c Config) {
	t.Helper()
	if left, _ := os.ReadDir(c.Scratch); len(left) > 0 {
		t.Errorf("%d entries are left in the scratch folder, such as %s", len(left), left[0].Name())
	}
}

func current(t *testing.T, output string) *sinks.Snapshot {
	t.Helper()
	s, err := store.Open(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := sinks.OpenCurrent(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// spoil adds images that cannot be read, and returns how many of each reason.
func spoil(t *testing.T, dir string) map[pipeline.Reason]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, entries[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "cut.jpg", good[:len(good)/2])
	write(t, dir, "empty.jpg", nil)
	write(t, dir, "page.jpg", []byte("<html>not found</html>"))
	return map[pipeline.Reason]int64{pipeline.Truncated: 1, pipeline.Empty: 1, pipeline.Unsupported: 1}
}

// The whole way on real images: every image listed is accounted for, the snapshot verifies, and
// searching finds an image by itself.
func TestEndToEndFile(t *testing.T) {
	const n = 1200
	dir, out := testenv.Fashion(t, n), t.TempDir()
	reasons := spoil(t, dir)
	c := night(t, dir, out)
	c.ShardSize = 400
	c.Format = "arrow"
	r := run(t, c)
	l := r.Ledger
	if l.Listed != n+3 || l.Embedded != n || l.Quarantined != 3 {
		t.Errorf("ledger %+v", l)
	}
	for reason, want := range reasons {
		if l.Reasons[reason] != want {
			t.Errorf("%d images %s, want %d", l.Reasons[reason], reason, want)
		}
	}
	for task, recall := range r.Recall {
		if recall != 1 { // the index of 1,200 vectors is flat
			t.Errorf("recall of %s is %v", task, recall)
		}
	}
	s := current(t, out)
	if s.Snapshot != r.Snapshot || s.Shards.Count < 4 || s.Parent != nil {
		t.Errorf("snapshot %s with %d shards, parent %v", s.Snapshot, s.Shards.Count, s.Parent)
	}
	checkVerify(t, out, n)
	checkSearch(t, out, dir)
}

func checkVerify(t *testing.T, output string, images int64) {
	t.Helper()
	r, err := verify.Run(t.Context(), output)
	if err != nil {
		t.Fatalf("verify: %v: %v", err, r)
	}
	if r.Images != images || r.Vectors != 4*images {
		t.Errorf("verified %d images and %d vectors, want %d and four times that", r.Images, r.Vectors, images)
	}
}

// checkSearch searches by file and by key: the same image must lead to the same neighbours.
func checkSearch(t *testing.T, output, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := entries[7].Name()
	for _, task := range []string{"articleType", "baseColour"} {
		byFile, err := search.Run(t.Context(), search.Query{Output: output, Task: task, Image: filepath.Join(dir, name), K: 6})
		if err != nil {
			t.Fatal(err)
		}
		if len(byFile) != 6 || byFile[0].Score < 0.9999 || !slices.ContainsFunc(byFile, func(h search.Hit) bool { return h.Key == name }) {
			t.Errorf("%s: searching for the file %s finds %+v", task, name, byFile)
		}
		byKey, err := search.Run(t.Context(), search.Query{Output: output, Task: task, Key: name, K: 5})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range byKey {
			if h.Key == name || !slices.ContainsFunc(byFile, func(f search.Hit) bool { return f.ID == h.ID }) {
				t.Errorf("%s: searching for the key %s finds %s", task, name, h.Key)
			}
		}
	}
	if _, err := search.Run(t.Context(), search.Query{Output: output, Task: "gender", Key: "none", K: 1}); !errors.Is(err, search.ErrNoKey) {
		t.Errorf("searching for a key that isn't there: %v", err)
	}
}

// From S3 into S3 gives the same files, by name and so by content, as from a folder into a folder.
func TestEndToEndS3(t *testing.T) {
	server := storetest.VersityGW(t)
	dir := testenv.Fashion(t, 300)
	images, err := store.Open(t.Context(), "s3://"+server.Bucket+"/images/")
	if err != nil {
		t.Fatal(err)
	}
	testenv.FashionEach(t, 300, func(name string, data []byte) {
		if _, err := images.Put(t.Context(), name, strings.NewReader(string(data)), int64(len(data)), store.Condition{}); err != nil {
			t.Fatal(err)
		}
	})
	remote := night(t, "s3://"+server.Bucket+"/images/", "s3://"+server.Bucket+"/index/")
	run(t, remote)
	checkVerify(t, remote.Output, 300)
	local := night(t, dir, t.TempDir())
	run(t, local)
	// Items hold ETags, which differ between the stores; vectors and indexes must not.
	for _, k := range []sinks.Kind{sinks.Embedding, sinks.Index, sinks.Model} {
		a, b := paths(current(t, remote.Output), k), paths(current(t, local.Output), k)
		if !slices.Equal(a, b) {
			t.Errorf("%s: %v from S3, %v from the folder", k, a, b)
		}
	}
}

func paths(s *sinks.Snapshot, k sinks.Kind) []string {
	var p []string
	for _, f := range s.Select(k, "") {
		p = append(p, f.Path)
	}
	return p
}

// The same gallery gives the same files, however many cores, fetches and images a batch.
func TestSnapshotsAreDeterministic(t *testing.T) {
	dir := testenv.Fashion(t, 500)
	var files [2][]string
	for i := range files {
		c := night(t, dir, t.TempDir())
		c.ShardSize, c.Cores, c.Fetch = 200, 1+i, 1+7*i
		c.Index = map[string]string{"default": "IVF4,Flat", "usage": "HNSW32"}
		run(t, c)
		for _, k := range []sinks.Kind{sinks.Items, sinks.Embedding, sinks.Index} {
			files[i] = append(files[i], paths(current(t, c.Output), k)...)
		}
	}
	if !slices.Equal(files[0], files[1]) {
		t.Errorf("two runs give\n%v\n%v", files[0], files[1])
	}
}

// Too many rejects, and an empty gallery, publish nothing.
func TestNothingIsPublished(t *testing.T) {
	dir := testenv.Fashion(t, 50)
	spoil(t, dir)
	c := night(t, dir, t.TempDir())
	_, err := Run(t.Context(), c, progress.Discard())
	if !errors.Is(err, sinks.ErrRejects) {
		t.Errorf("3 of 53 images are bad, 1 %% is allowed: %v", err)
	}
	checkNothing(t, c)

	c = night(t, t.TempDir(), t.TempDir())
	if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty gallery: %v", err)
	}
	checkNothing(t, c)
}

func checkNothing(t *testing.T, c Config) {
	t.Helper()
	checkScratch(t, c)
	for _, name := range []string{sinks.CurrentPath, "snapshots"} {
		if _, err := os.Stat(filepath.Join(c.Output, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it absent", name, err)
		}
	}
}

// An interrupted run publishes nothing, at whatever point it is interrupted, and the next one works.
func TestInterrupted(t *testing.T) {
	dir := testenv.Fashion(t, 400)
	c := night(t, dir, t.TempDir())
	for i := range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		c.ShardSize = 50
		_, err := Run(ctx, c, progress.Every(func(n int64) {
			if n >= int64(50*i) {
				cancel()
			}
		}))
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted after %d images: %v", 50*i, err)
		}
		checkNothing(t, c)
	}
	run(t, c)
	checkVerify(t, c.Output, 400)
}

// A second night keeps the ids of the keys that stay, and those who hold the first snapshot can go
// on reading it.
func TestSecondNightKeepsIDs(t *testing.T) {
	dir := testenv.Fashion(t, 300)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, entries[5].Name())
	good, err := os.ReadFile(bad)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, entries[5].Name(), good[:100])
	c := night(t, dir, t.TempDir())
	c.ShardSize = 100
	run(t, c)
	first := current(t, c.Output)
	before := ids(t, first)

	write(t, dir, entries[5].Name(), good)
	for _, e := range entries[100:120] {
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, "new-"+e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	run(t, c)
	second := current(t, c.Output)
	if second.Parent == nil || *second.Parent != first.Snapshot {
		t.Errorf("the second snapshot's parent is %v", second.Parent)
	}
	checkVerify(t, c.Output, 300)
	after := ids(t, second)
	taken := map[int64]bool{}
	for _, id := range before {
		taken[id] = true
	}
	for key, id := range after {
		old, known := before[key]
		switch {
		case known && old != id:
			t.Errorf("%s had id %d and has %d", key, old, id)
		case !known && key != entries[5].Name() && taken[id]:
			t.Errorf("%s got the id %d of a key that left", key, id)
		}
	}
	if again := ids(t, first); len(again) != len(before) {
		t.Errorf("the first snapshot reads %d items now, %d before", len(again), len(before))
	}
}

func ids(t *testing.T, s *sinks.Snapshot) map[string]int64 {
	t.Helper()
	m := map[string]int64{}
	for _, f := range s.Select(sinks.Items, "") {
		err := s.EachItem(t.Context(), f, func(r sinks.Row) error {
			m[r.Key] = r.ID
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}
