package sinks

import (
	"errors"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

func TestLedgerBalance(t *testing.T) {
	good := func() Ledger {
		return Ledger{
			Listed: 10, Embedded: 4, Reused: 3, Quarantined: 3, Previous: 9, New: 2, Deleted: 1,
			Reasons: map[pipeline.Reason]int64{pipeline.Truncated: 2, pipeline.Empty: 1},
			Tasks:   map[string]TaskLedger{"a": {Rows: 7, NTotal: 7}, "b": {Rows: 7, NTotal: 7}},
		}
	}
	if err := good().Balance(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		spoil func(*Ledger)
		names string
	}{
		"an image lost":        {func(l *Ledger) { l.Listed++ }, "embedded + reused + quarantined = 10, want 11"},
		"a reason missing":     {func(l *Ledger) { l.Reasons[pipeline.Empty] = 0 }, "sum of the reasons = 2, want 3"},
		"a row lost":           {func(l *Ledger) { l.Tasks["b"] = TaskLedger{Rows: 6, NTotal: 7} }, "rows of b = 6, want 7"},
		"a vector lost":        {func(l *Ledger) { l.Tasks["a"] = TaskLedger{Rows: 7, NTotal: 8} }, "index of a = 8, want 7"},
		"an image counted too": {func(l *Ledger) { l.Embedded++ }, "embedded + reused + quarantined = 11, want 10"},
		"a key left unseen":    {func(l *Ledger) { l.Deleted = 0 }, "previous + new - deleted = 11, want 10"},
	}
	for name, c := range cases {
		l := good()
		c.spoil(&l)
		err := l.Balance()
		if !errors.Is(err, ErrUnbalanced) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %v, want it to name %q", name, err, c.names)
		}
	}
}

const tinyManifest = `{"format":1,"snapshot":"s","shards":{"count":2,"next_sequence":[1,0]},
"tasks":[{"name":"a","output":"o","dim":2,"metric":"l2","index":{"path":"index/a/x/knn.index"}}],
"files":[{"path":"items/00000-x.parquet","kind":"items","shard":0,"rows":1,"bytes":2,"sha256":"00"}]}`

func TestDecodeManifestRefuses(t *testing.T) {
	if _, err := DecodeManifest([]byte(tinyManifest)); err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string][2]string{
		"a newer format":         {`"format":1`, `"format":2`},
		"no format":              {`"format":1`, `"x":1`},
		"an absolute path":       {`items/00000-x.parquet`, `/etc/passwd`},
		"a path that climbs":     {`items/00000-x.parquet`, `../../etc/passwd`},
		"a path that hides it":   {`items/00000-x.parquet`, `items/../../x`},
		"three shards":           {`"count":2`, `"count":3`},
		"a shard out of range":   {`"shard":0`, `"shard":2`},
		"a negative count":       {`"rows":1`, `"rows":-1`},
		"a task that's a folder": {`"name":"a"`, `"name":"../a"`},
		"no JSON":                {`{`, ``},
	} {
		data := strings.Replace(tinyManifest, edit[0], edit[1], 1)
		if _, err := DecodeManifest([]byte(data)); err == nil {
			t.Errorf("a manifest with %s is accepted", what)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte(tinyManifest))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			return
		}
		if _, err := m.Encode(); err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
	})
}

// FuzzOpenCurrent gives the pointer, and the manifest that it may lead to, arbitrary bytes.
func FuzzOpenCurrent(f *testing.F) {
	f.Add([]byte(`{"snapshot":"s","manifest_sha256":"`+hexDigest([]byte(tinyManifest))+`"}`), []byte(tinyManifest))
	f.Add([]byte(`{"snapshot":"../s"}`), []byte(tinyManifest))
	f.Add([]byte(`{"snapshot":"s/../../s"}`), []byte("{}"))
	f.Add([]byte("null"), []byte{})
	s, err := store.OpenMem("fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, pointer, manifest []byte) {
		for key, data := range map[string][]byte{CurrentPath: pointer, ManifestPath("s"): manifest} {
			if _, err := put(t.Context(), s, key, data, store.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		snapshot, err := OpenCurrent(t.Context(), s)
		if err == nil && snapshot.check() != nil {
			t.Errorf("a manifest that does not hold: %v", snapshot.check())
		}
	})
}

// A pointer leads to a snapshot's folder and nowhere else.
func TestCurrentStaysInside(t *testing.T) {
	s, err := store.OpenMem(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	sum := hexDigest([]byte(tinyManifest))
	for _, id := range []string{"..", ".", "a/b", "../../x", "/s", "s/", "", "s\n"} {
		pointer := `{"snapshot":"` + id + `","manifest_sha256":"` + sum + `"}`
		for key, data := range map[string]string{CurrentPath: pointer, ManifestPath(id): tinyManifest} {
			if _, err := put(t.Context(), s, key, []byte(data), store.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenCurrent(t.Context(), s); !errors.Is(err, ErrDamaged) {
			t.Errorf("CURRENT leads to %q: %v", id, err)
		}
	}
}
