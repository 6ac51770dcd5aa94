package sinks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

// lastNight is a snapshot of two shards with n images each, every one of whose contents occurs twice, and
// a reject in the second. The vector of id begins with the low bits of id.
func lastNight(t *testing.T, s store.Store, n int) *Snapshot {
	t.Helper()
	m := &Manifest{Format: FormatVersion, Snapshot: "last", Shards: ShardState{Count: 2, NextSequence: []int64{100, 200}}}
	for _, task := range testTasks {
		m.Tasks = append(m.Tasks, TaskState{Task: task, Digest: "of " + task.Name})
	}
	shards, err := NewShards(t.TempDir(), testTasks, []string{"colour_name"}, false)
	if err != nil {
		t.Fatal(err)
	}
	collect := NewCollect(s, t.TempDir(), m, 10)
	upload := Upload{Objects: s, Name: func(int) string { return "" }}
	for shard := range 2 {
		e := &pipeline.Embeddings{Vectors: make([][]float32, 2)}
		for i := range n {
			it := item(shard, i, false)
			it.ContentHash = sha256.Sum256([]byte{byte(i / 2)})
			it.Reject = nil
			e.Items = append(e.Items, it)
			e.Vectors[0] = append(e.Vectors[0], float32(i), 0, float32(shard))
			e.Vectors[1] = append(e.Vectors[1], float32(i), float32(-shard))
		}
		if shard == 1 {
			bad := item(shard, n, false)
			bad.Reject = &pipeline.Reject{Reason: pipeline.Gone, Err: errors.New("404")}
			bad.Key, bad.Size = "bad\xff", -1
			e.Items = append(e.Items, bad)
		}
		e.Items[len(e.Items)-1].Last = true
		done, ok, err := shards.Gather(t.Context(), e)
		if err == nil && ok {
			done, err = upload.Process(t.Context(), done)
		}
		if err == nil {
			err = collect.Write(t.Context(), done)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := collect.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return NewSnapshot(m, s)
}

func newPast(t *testing.T, s *Snapshot, tasks []pipeline.Task) *Past {
	t.Helper()
	p, err := NewPast(t.Context(), s, tasks, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// What a snapshot holds of keys, contents and rows.
func TestPast(t *testing.T) {
	const n = 30
	p := newPast(t, lastNight(t, inMemory(t), n), testTasks)
	for shard := range 2 {
		known, next, err := p.Known(t.Context(), shard)
		if err != nil || len(known) != n+shard || next != int64(100+100*shard) {
			t.Fatalf("shard %d: %d keys, next %d, %v", shard, len(known), next, err)
		}
		if k := known["bad\xff"]; shard == 1 && (k == nil || k.Reject.Reason != pipeline.Gone || k.Reject.Err.Error() != "404" || k.Size != -1) {
			t.Errorf("the reject came back as %+v", k)
		}
	}
	for i := range n {
		k, err := p.Find(t.Context(), sha256.Sum256([]byte{byte(i / 2)}))
		if err != nil || k == nil || k.ID != int64(i/2*2) { // of four images the one of the lowest id
			t.Errorf("content %d: %+v, %v", i/2, k, err)
		}
	}
	if k, err := p.Find(t.Context(), sha256.Sum256([]byte("never seen"))); k != nil || err != nil {
		t.Errorf("a content that is new: %+v, %v", k, err)
	}
	for _, row := range []int{5, 6, 7, 0, n - 1, 3} { // neighbours, and jumps
		v, err := p.Vectors(t.Context(), 1<<pipeline.ShardShift|int64(row))
		if want := fmt.Sprint([][]float32{{float32(row), 0, 1}, {float32(row), -1}}); err != nil || fmt.Sprint(v) != want {
			t.Errorf("row %d is %v, want %s: %v", row, v, want, err)
		}
	}
	for _, id := range []int64{n, 1<<pipeline.ShardShift | n, 7 << pipeline.ShardShift} {
		if v, err := p.Vectors(t.Context(), id); !errors.Is(err, ErrDamaged) {
			t.Errorf("a row that is not there, %x: %v, %v", id, v, err)
		}
	}
}

// A shard in which every kind of item occurs: computed, partly computed, reused from its own row and from
// another's, rejected.
func TestShardsReuse(t *testing.T) {
	const n = 30
	s := inMemory(t)
	p := newPast(t, lastNight(t, s, n), testTasks[:1]) // of the second task the vectors are of no use
	shards, err := NewShards(t.TempDir(), testTasks, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	shards.Reuse = Reuse{Past: p, Changed: []bool{false, true}}
	known := &pipeline.Known{ETag: "old", Size: 1}
	items := []*pipeline.Item{item(0, 1, false), item(0, 2, false), item(0, 3, false), item(0, 4, true)}
	for i, need := range []pipeline.Need{pipeline.NeedAll, pipeline.NeedSome, pipeline.NeedSome, pipeline.NeedAll} {
		items[i].Need, items[i].Reject = need, nil
	}
	items[1].Twin, items[1].Known = items[1].ID, known
	items[2].Twin = 1<<pipeline.ShardShift | 9
	items[3].Reject = &pipeline.Reject{Reason: pipeline.Empty, Err: errors.New("0")}
	e := &pipeline.Embeddings{Items: items, Vectors: [][]float32{{-1, -1, -1}, {10, 10, 20, 20, 30, 30}}}
	done, ok, err := shards.Gather(t.Context(), e)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if done.Embedded != 3 || done.Reused != 0 || done.Changed != 1 || len(done.Quarantined) != 1 || done.Computed["shape"] != 1 || done.Computed["colour"] != 3 {
		t.Errorf("%+v", done)
	}
	if _, err := (Upload{Objects: s, Past: p, Name: func(int) string { return "" }}).Process(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"[-1 -1 -1 2 0 0 9 0 1]", "[10 10 20 20 30 30]"} {
		var got []float32
		err := NewSnapshot(nil, s).EachVectors(t.Context(), done.Files[1+i].File, testTasks[i].Dim, func(v Vectors) error {
			got = append(got, v.Data...)
			return nil
		})
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s is %v, want %s: %v", testTasks[i].Name, got, want, err)
		}
	}
}

// A shard of which only attributes changed names its embeddings again, and nobody reads them; one that
// comes out as it was is not stored again.
func TestShardsAreNamedAgain(t *testing.T) {
	const n = 10
	s := inMemory(t)
	last := lastNight(t, s, n)
	p := newPast(t, last, testTasks)
	for _, f := range last.Select(Embedding, "") {
		if err := s.Delete(t.Context(), f.Path); err != nil { // as if it were not to be read
			t.Fatal(err)
		}
	}
	shards, err := NewShards(t.TempDir(), testTasks, []string{"colour_name"}, false)
	if err != nil {
		t.Fatal(err)
	}
	shards.Reuse = Reuse{Past: p, Changed: make([]bool, 2), Named: func(int) bool { return true }}
	e := &pipeline.Embeddings{Vectors: make([][]float32, 2)}
	for i := range n {
		it := item(0, i, i == n-1)
		it.ContentHash = sha256.Sum256([]byte{byte(i / 2)})
		it.Need, it.Twin, it.Reject = pipeline.NeedNothing, it.ID, nil
		e.Items = append(e.Items, it)
	}
	done, _, err := shards.Gather(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	var paths, want []string
	for _, f := range done.Files {
		paths = append(paths, f.Path)
	}
	for _, f := range append(last.Select(Items, "")[:1], last.Select(Embedding, "")...) {
		if f.Shard == 0 {
			want = append(want, f.Path)
		}
	}
	slices.Sort(paths)
	slices.Sort(want)
	if !slices.Equal(paths, want) || done.Reused != n {
		t.Errorf("named are %q, want %q; %d reused", paths, want, done.Reused)
	}
	before := fmt.Sprint(listKeys(t, s))
	if _, err := (Upload{Objects: s, Past: p, Name: func(int) string { return "" }}).Process(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	if after := fmt.Sprint(listKeys(t, s)); after != before {
		t.Errorf("the store held\n%s and holds\n%s", before, after)
	}
}

func listKeys(t *testing.T, s store.Store) (keys []string) {
	t.Helper()
	for r, err := range s.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, r.Key)
	}
	return keys
}
