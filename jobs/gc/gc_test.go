package gc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// output is a place where snapshots of nothing but names are published.
type output struct {
	t       *testing.T
	objects store.Store
}

func (o output) put(key, data string) {
	o.t.Helper()
	if _, err := o.objects.Put(o.t.Context(), key, strings.NewReader(data), int64(len(data)), store.Condition{}); err != nil {
		o.t.Fatal(err)
	}
}

// snapshot stores a snapshot that names files, and makes it the current one unless the gate refused it.
func (o output) snapshot(id, parent string, ok bool, files ...string) {
	o.t.Helper()
	m := &sinks.Manifest{
		Format: sinks.FormatVersion, Snapshot: id, Shards: sinks.ShardState{Count: 1, NextSequence: []int64{0}},
		Gate: []sinks.Check{{Name: "ledger", OK: true}, {Name: "recall", OK: ok}},
	}
	if parent != "" {
		m.Parent = &parent
	}
	for _, f := range files {
		o.put(named(f), f)
		m.Files = append(m.Files, sinks.File{Path: named(f)})
	}
	to, err := sinks.WriteManifest(o.t.Context(), o.objects, m)
	if err != nil {
		o.t.Fatal(err)
	}
	if ok {
		o.point(to)
	}
}

func (o output) point(to sinks.Current) {
	o.t.Helper()
	p, err := sinks.ReadPointer(o.t.Context(), o.objects)
	if err != nil && !errors.Is(err, sinks.ErrNoSnapshot) {
		o.t.Fatal(err)
	}
	if _, err := p.Move(o.t.Context(), o.objects, to); err != nil {
		o.t.Fatal(err)
	}
}

func (o output) record(name, parent string, files ...string) {
	o.t.Helper()
	rec := sinks.Record{Parent: parent, Saved: time.Now()}
	for _, f := range files {
		o.put(named(f), f)
		rec.Files = append(rec.Files, sinks.File{Path: named(f)})
	}
	doc, err := json.Marshal(rec)
	if err != nil {
		o.t.Fatal(err)
	}
	o.put("work/"+name+".json", string(doc))
}

func (o output) keys() (keys []string) {
	o.t.Helper()
	for r, err := range o.objects.List(o.t.Context(), "") {
		if err != nil {
			o.t.Fatal(err)
		}
		keys = append(keys, r.Key)
	}
	return keys
}

func (o output) collect(keep int, dry bool) (*Report, []string) {
	o.t.Helper()
	var gone []string
	c := Config{Output: o.objects.String(), Keep: keep, DryRun: dry, Lease: time.Minute}
	r, err := Run(o.t.Context(), c, func(g Garbage) { gone = append(gone, g.Path) })
	if err != nil {
		o.t.Fatal(err)
	}
	slices.Sort(gone)
	return r, gone
}

func outputs(t *testing.T) map[string]output {
	m := map[string]output{}
	for name, address := range map[string]string{"mem": "mem://" + strings.ReplaceAll(t.Name(), "/", "-"), "file": filepath.Join(t.TempDir(), "out")} {
		s, err := store.Open(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = output{t, s}
	}
	return m
}

// named is the path of a file as Facet would name it: items/x and embeddings/t/x are tables, index/t/x and
// models/x what they say.
func named(short string) string {
	dir, name := path.Split(short)
	digest := fmt.Sprintf("%016x", xxhash.Sum64String(name))
	switch kind, _, _ := strings.Cut(dir, "/"); kind {
	case "items", "embeddings":
		return dir + "00000-" + digest + ".parquet"
	case "index":
		return dir + digest + "/knn.index"
	case "models":
		return dir + digest + ".onnx"
	}
	return short
}

// manifest is the path of a snapshot's manifest.
func manifest(id string) string { return sinks.ManifestPath(id) }

// Of four nights and all that can go wrong between them, what is needed stays and the rest goes.
func TestCollect(t *testing.T) {
	for name, o := range outputs(t) {
		t.Run(name, func(t *testing.T) {
			o.t = t
			o.put("notes.txt", "not Facet's")
			o.put("others/index/x", "not Facet's")
			o.snapshot("1", "", true, "items/1", "items/old", "models/a")
			o.snapshot("15", "1", false, "items/15")
			o.put(manifest("16")[:len("snapshots/16/")]+"quarantine.parquet", "the run died before the manifest")
			o.snapshot("2", "1", true, "items/1", "items/2")
			o.snapshot("25", "2", false, "items/25")
			o.snapshot("3", "2", true, "items/3", "models/a")
			o.snapshot("4", "3", false, "items/4")
			o.put(named("embeddings/t/orphan"), "a run died before its record")
			o.put(named("index/t/orphan"), "likewise")
			for _, foreign := range []string{"models/shop.onnx", "items/notes.parquet", "index/t/readme", "snapshots/16/x/y.json", "work/x"} {
				o.put(foreign, "not of Facet's making, though where Facet writes")
			}
			o.record("resumable", "3", "items/half", "index/t/half")
			o.record("stale", "2", "items/stale")
			o.put("work/cut.json", "{")
			o.put(sinks.DecisionPaths("2")[0], "who accepted it, and why")
			o.put(sinks.DecisionPaths("4")[1], "who rolled it back, and why")
			want := []string{
				named("embeddings/t/orphan"), named("index/t/orphan"), named("items/15"), named("items/old"), named("items/stale"),
				manifest("1"), manifest("15"), "snapshots/16/quarantine.parquet", "work/cut.json", "work/stale.json",
			}
			slices.Sort(want)
			before := o.keys()
			r, gone := o.collect(1, true)
			if !slices.Equal(gone, want) || !slices.Equal(slices.DeleteFunc(o.keys(), isLease), before) {
				t.Errorf("a dry run would delete %q, want %q", gone, want)
			}
			again, gone := o.collect(1, false)
			if !slices.Equal(gone, want) || r.Bytes == 0 || again.Bytes != r.Bytes || again.Deleted != int64(len(want)) {
				t.Errorf("deleted %q (%+v), want %q", gone, again, want)
			}
			left := slices.DeleteFunc(o.keys(), isLease)
			if want := slices.DeleteFunc(before, func(k string) bool { return slices.Contains(want, k) }); !slices.Equal(left, want) {
				t.Errorf("left are\n%q, want\n%q", left, want)
			}
			if fmt.Sprint(again.Kept) != "[3 2 25 4]" {
				t.Errorf("kept are the snapshots %v", again.Kept)
			}
			if r, gone := o.collect(1, false); r.Deleted != 0 {
				t.Errorf("a second time %q is deleted", gone)
			}
		})
	}
}

func isLease(key string) bool { return key == sinks.LeasePath }

// After a rollback the newer snapshot stays whole: somebody may want to go forward again.
func TestCollectAfterRollback(t *testing.T) {
	for _, o := range outputs(t) {
		o.snapshot("1", "", true, "items/1")
		first, err := sinks.ReadPointer(t.Context(), o.objects)
		if err != nil {
			t.Fatal(err)
		}
		o.snapshot("2", "1", true, "items/2")
		o.point(first.Current)
		if _, gone := o.collect(0, false); len(gone) > 0 {
			t.Errorf("after a rollback %q is deleted", gone)
		}
	}
}

// What is half-written is collected, and nothing is while a run is at work.
func TestCollectRefusesAndSweeps(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Output: dir, Lease: time.Minute}
	ignore := func(Garbage) {}
	if _, err := Run(t.Context(), c, ignore); !errors.Is(err, sinks.ErrNoSnapshot) {
		t.Errorf("an empty folder: %v", err)
	}
	output{t, s}.snapshot("1", "", true, "items/1")
	temp := filepath.Join(dir, ".facet-tmp")
	if err := errors.Join(os.MkdirAll(temp, 0o750), os.WriteFile(filepath.Join(temp, "x"), bytes.Repeat([]byte("x"), 99), 0o600)); err != nil {
		t.Fatal(err)
	}
	lease, err := sinks.Acquire(t.Context(), s, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), c, ignore); !errors.Is(err, sinks.ErrLeased) {
		t.Errorf("while a run is at work: %v", err)
	}
	if err := lease.Leave(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), c, ignore)
	if err != nil || r.Unfinished != 1 || r.Bytes != 99 || r.Deleted != 0 {
		t.Errorf("%+v, %v; want one unfinished write of 99 bytes", r, err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("of unfinished writes are left: %v, %v", left, err)
	}
	// What CURRENT names cannot be read: it may name anything.
	output{t, s}.put(sinks.ManifestPath("1"), "{}")
	if _, err := Run(t.Context(), c, ignore); !errors.Is(err, sinks.ErrDamaged) {
		t.Errorf("the current manifest is damaged: %v", err)
	}
	for _, bad := range []Config{{Lease: time.Minute}, {Output: dir, Keep: -1, Lease: time.Minute}, {Output: dir}} {
		if _, err := Run(t.Context(), bad, ignore); !errors.Is(err, jobfile.ErrConfig) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
