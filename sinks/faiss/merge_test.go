package faiss

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/sinks/faiss/internal/native"
)

// shards trains an index once and builds n shards of it, of which the second is empty.
func shards(t testing.TB, factory string, n int) (trained string, paths []string) {
	ids, vectors := gallery(2500, testDim)
	dir := t.TempDir()
	resolved, err := Resolve(factory)
	must(t, err)
	trained = filepath.Join(dir, "trained.index")
	spec := Spec{Task: task("style", testDim), Factory: resolved, Train: len(ids)}
	b, err := Start(t.Context(), spec)
	must(t, err)
	must(t, b.Sample(vectors))
	must(t, b.Train())
	_, _, err = b.Write(trained)
	must(t, err)
	must(t, b.Close())
	spec.Trained = trained
	for i := range n {
		from, end := 500*i, 500*i+300/(i+1)
		if i == 1 {
			end = from
		}
		path := filepath.Join(dir, fmt.Sprintf("shard-%d.index", i))
		recipe{spec: spec, batch: 77}.build(t, path, ids[from:end], vectors[from*testDim:end*testDim])
		paths = append(paths, path)
	}
	return trained, paths
}

func TestMergeEqualsFAISS(t *testing.T) {
	for _, f := range []string{
		"IVF16,Flat", "IVF80,Flat", "IVF16,SQ8", "IVF16,SQfp16", "IVF16,PQ4x4", "OPQ2_8,IVF16,PQ2x4", "PCAR16,IVF16,Flat",
		"L2norm,PCA24,ITQ16,IVF16,SQ8", "RR16,IVF16,SQ4", "Pad40,IVF16,Flat", "IVF16_HNSW32,Flat", "IVF1,Flat",
	} {
		t.Run(f, func(t *testing.T) {
			trained, paths := shards(t, f, 4)
			for n := range len(paths) + 1 {
				ours, theirs := tempFile(t, "ours"), tempFile(t, "theirs")
				must(t, Merge(trained, paths[:n], ours))
				must(t, native.Merge(trained, paths[:n], theirs))
				a, err := os.ReadFile(ours)
				must(t, err)
				b, err := os.ReadFile(theirs)
				must(t, err)
				if !bytes.Equal(a, b) {
					t.Errorf("the merge of %d shards is not FAISS's: %d bytes, want %d", n, len(a), len(b))
				}
			}
		})
	}
}

func TestMergedIndexSearches(t *testing.T) {
	trained, paths := shards(t, "IVF16,Flat", 4)
	out := tempFile(t, "knn.index")
	must(t, Merge(trained, paths, out))
	s, err := OpenIndex(t.Context(), out, task("style", testDim), 1)
	must(t, err)
	defer s.Close()
	ids, vectors := gallery(2500, testDim)
	var want IDSet
	want.Add(ids[:300]...)
	want.Add(ids[1000:1100]...)
	want.Add(ids[1500:1575]...)
	if got, err := s.IDSet(); err != nil || got != want || s.Stats().Total != 475 {
		t.Errorf("ids are %v (%v), want %v; %+v", got, err, want, s.Stats())
	}
	hits, err := s.Search(vectors[1000*testDim:1001*testDim], 1)
	must(t, err)
	if len(hits[0]) != 1 || hits[0][0].ID != ids[1000] {
		t.Errorf("the nearest to vector 1000 is %v", hits[0])
	}
}

func TestMergeRefuses(t *testing.T) {
	trained, paths := shards(t, "IVF16,Flat", 1)
	otherTrained, otherPaths := shards(t, "IVF16,SQ8", 1)
	moreTrained, morePaths := shards(t, "IVF17,Flat", 1)
	ids, vectors := gallery(100, testDim)
	mapped := tempFile(t, "mapped.index")
	recipe{spec: Spec{Task: task("style", testDim), Factory: "Flat"}}.build(t, mapped, ids, vectors)
	good, err := os.ReadFile(paths[0])
	must(t, err)
	damage := func(change func(b []byte) []byte) string {
		path := tempFile(t, "damaged.index")
		must(t, os.WriteFile(path, change(bytes.Clone(good)), 0o600))
		return path
	}
	for name, c := range map[string]struct{ trained, shard, says string }{
		"other codes":    {trained, otherPaths[0], "not made from the trained index"},
		"other training": {otherTrained, paths[0], "not made from the trained index"},
		"other lists":    {moreTrained, paths[0], ""},
		"more lists":     {trained, morePaths[0], ""},
		"not empty":      {paths[0], paths[0], "not an empty index"},
		"IDMap2":         {mapped, mapped, "inside an IDMap"},
		"no file":        {"/nonexistent", paths[0], "no such file"},
		"a folder":       {t.TempDir(), paths[0], "not a file"},
		"no shard":       {trained, "/nonexistent", "no such file"},
		"cut short":      {trained, damage(func(b []byte) []byte { return b[:len(b)-1] }), "unexpected EOF"},
		"too long":       {trained, damage(func(b []byte) []byte { return append(b, 0) }), "follow its last list"},
		"header only":    {trained, damage(func(b []byte) []byte { return b[:40] }), "unexpected EOF"},
		"wrong total":    {trained, damage(func(b []byte) []byte { b[totalOffset]++; return b }), "says it holds 301 vectors"},
		"wrong list sizes": {trained, damage(func(b []byte) []byte {
			copy(b[len(b)-300*(4*testDim+8)-8:], "\xff\xff\xff\xff\xff\xff\xff\xff")
			return b
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := tempFile(t, "out.index")
			err := Merge(c.trained, []string{c.shard}, out)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want something about %q", err, c.says)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("it left a file")
			}
		})
	}
}

// FuzzMerge merges files that anybody may have made.
func FuzzMerge(f *testing.F) {
	for _, factory := range []string{"IVF2,Flat", "OPQ2_4,IVF4,SQ8", "PCA4,IVF3,PQ2x2", "L2norm,ITQ4,IVF40,SQ4"} {
		trained, paths := shards(f, factory, 1)
		t, err := os.ReadFile(trained)
		must(f, err)
		s, err := os.ReadFile(paths[0])
		must(f, err)
		f.Add(t, s)
	}
	f.Fuzz(func(t *testing.T, trained, shard []byte) {
		dir := t.TempDir()
		a, b, out := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "out")
		must(t, os.WriteFile(a, trained, 0o600))
		must(t, os.WriteFile(b, shard, 0o600))
		if err := Merge(a, []string{b, b}, out); err != nil {
			return
		}
		info, err := os.Stat(out)
		must(t, err)
		if info.Size() > int64(len(trained)+2*len(shard)) {
			t.Errorf("%d and twice %d bytes became %d", len(trained), len(shard), info.Size())
		}
	})
}
