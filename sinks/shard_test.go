package sinks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/facet-search/facet/pipeline"
)

var testTasks = []pipeline.Task{
	{Name: "shape", Output: "embedding_shape", Dim: 3, Metric: pipeline.Cosine, Normalized: true},
	{Name: "colour", Output: "embedding_colour", Dim: 2, Metric: pipeline.L2},
}

// item makes item n of a shard; every seventh is rejected.
func item(shard, n int, last bool) *pipeline.Item {
	it := &pipeline.Item{
		ID:    int64(shard)<<pipeline.ShardShift | int64(n),
		Ref:   pipeline.Ref{Key: fmt.Sprintf("k/%d", n), ETag: "e", Size: int64(n), Attributes: []string{"red", ""}},
		Width: n, Height: n + 1, ContentHash: sha256.Sum256([]byte{byte(n)}), Last: last,
	}
	if n%7 == 0 {
		it.Reject = &pipeline.Reject{Reason: pipeline.Truncated, Err: errors.New("ends early")}
	}
	return it
}

// gather sends n items in batches of 8 through s and returns the shard.
func gather(t *testing.T, s *Shards, shard, n int) *Shard {
	t.Helper()
	var got *Shard
	for i := 0; i < n; i += 8 {
		e := &pipeline.Embeddings{Vectors: make([][]float32, 2)}
		for j := i; j < min(i+8, n); j++ {
			it := item(shard, j, j == n-1)
			e.Items = append(e.Items, it)
			if it.Reject == nil {
				e.Vectors[0] = append(e.Vectors[0], float32(j), 0.5, -1)
				e.Vectors[1] = append(e.Vectors[1], float32(j), float32(math.Pi))
			}
		}
		sh, ok, err := s.Gather(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if ok != (i+8 >= n) {
			t.Fatalf("sealed %v after item %d of %d", ok, i+8, n)
		}
		got = sh
	}
	return got
}

// What was written is read back, row for row, from more than one row group.
func TestShardsRoundTrip(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	dir := t.TempDir()
	s, err := NewShards(dir, testTasks, []string{"colour_name", "note"}, true)
	if err != nil {
		t.Fatal(err)
	}
	s.mem = mem
	const n = 2*rowGroup + 5
	sh := gather(t, s, 3, n)
	rejects := (n + 6) / 7
	if sh.Number != 3 || sh.Embedded != int64(n-rejects) || len(sh.Quarantined) != rejects || len(sh.Files) != 6 {
		t.Fatalf("shard %d: %d embedded, %d quarantined, %d files", sh.Number, sh.Embedded, len(sh.Quarantined), len(sh.Files))
	}
	var want []int64
	for i := range n {
		if i%7 != 0 {
			want = append(want, 3<<pipeline.ShardShift|int64(i))
		}
	}
	for _, f := range sh.Files {
		data := checkSealed(t, f, int64(len(want)))
		switch f.Kind {
		case Items:
			checkItems(t, data, want)
		case Embedding:
			checkVectors(t, data, f.Task, want)
		default:
			checkArrow(t, data, int64(len(want)))
		}
	}
	removeAll(sh.Files)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left behind", len(left))
	}
}

func checkSealed(t *testing.T, f Sealed, rows int64) []byte {
	t.Helper()
	data, err := os.ReadFile(f.Local)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if f.SHA256 != hex.EncodeToString(sum[:]) || f.Bytes != int64(len(data)) || f.Rows != rows || f.Shard != 3 {
		t.Errorf("%s: entry %+v does not describe its %d bytes", f.Path, f.File, len(data))
	}
	return data
}

func checkItems(t *testing.T, data []byte, want []int64) {
	t.Helper()
	var ids []int64
	err := ReadItems(t.Context(), data, func(r Row) error {
		n := int(r.ID & (1<<pipeline.ShardShift - 1))
		if r.Key != fmt.Sprintf("k/%d", n) || r.Bytes != int64(n) || r.Width != n || r.Height != n+1 ||
			r.ContentHash != sha256.Sum256([]byte{byte(n)}) || !slices.Equal(r.Attributes, []string{"red", ""}) {
			t.Fatalf("row %d came back as %+v", n, r)
		}
		ids = append(ids, r.ID)
		return nil
	})
	if err != nil || !slices.Equal(ids, want) {
		t.Fatalf("items: %v; %d ids, want %d", err, len(ids), len(want))
	}
}

func checkVectors(t *testing.T, data []byte, task string, want []int64) {
	t.Helper()
	dim := map[string]int{"shape": 3, "colour": 2}[task]
	var ids []int64
	err := ReadVectors(t.Context(), data, dim, func(v Vectors) error {
		for i, id := range v.IDs {
			if n := float32(id & (1<<pipeline.ShardShift - 1)); v.Data[i*dim] != n {
				t.Fatalf("vector of %d begins with %v", id, v.Data[i*dim])
			}
		}
		ids = append(ids, v.IDs...)
		return nil
	})
	if err != nil || !slices.Equal(ids, want) {
		t.Fatalf("%s: %v; %d ids, want %d", task, err, len(ids), len(want))
	}
	if err := ReadVectors(t.Context(), data, dim+1, func(Vectors) error { return nil }); err == nil {
		t.Errorf("%s: read with the wrong length of vector without an error", task)
	}
}

func checkArrow(t *testing.T, data []byte, rows int64) {
	t.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range r.NumRecords() {
		rec, err := r.RecordBatch(i)
		if err != nil {
			t.Fatal(err)
		}
		rows -= rec.NumRows()
	}
	if rows != 0 {
		t.Errorf("Arrow file lacks %d rows", rows)
	}
}

func TestShardsAreDeterministic(t *testing.T) {
	var digests [2][]string
	for i := range digests {
		s, err := NewShards(t.TempDir(), testTasks, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range gather(t, s, 3, 100).Files {
			digests[i] = append(digests[i], f.Path)
		}
	}
	if !slices.Equal(digests[0], digests[1]) {
		t.Fatalf("the same rows give %v and %v", digests[0], digests[1])
	}
}

// A shard whose last item never came is dropped, and items of a next shard don't slip into it.
func TestShardsWantTheLast(t *testing.T) {
	dir := t.TempDir()
	s, err := NewShards(dir, testTasks, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	one := func(it *pipeline.Item) error {
		e := &pipeline.Embeddings{Items: []*pipeline.Item{it}, Vectors: [][]float32{{1, 2, 3}, {4, 5}}}
		_, _, err := s.Gather(t.Context(), e)
		return err
	}
	if err := one(item(1, 1, false)); err != nil {
		t.Fatal(err)
	}
	if err := one(item(2, 1, true)); err == nil {
		t.Fatal("an item of shard 2 was taken into shard 1")
	}
	s.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left behind", len(left))
	}
}

func TestReservedAttributes(t *testing.T) {
	for _, bad := range [][]string{{"key"}, {""}, {"a", "a"}, {"\xff"}} {
		if _, err := NewShards(t.TempDir(), testTasks, bad, false); err == nil {
			t.Errorf("attributes %q are accepted", bad)
		}
	}
}

func FuzzReadVectors(f *testing.F) {
	s, err := NewShards(f.TempDir(), testTasks, nil, false)
	if err != nil {
		f.Fatal(err)
	}
	e := &pipeline.Embeddings{Items: []*pipeline.Item{item(0, 1, true)}, Vectors: [][]float32{{1, 2, 3}, {4, 5}}}
	sh, _, err := s.Gather(f.Context(), e)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range sh.Files {
		data, err := os.ReadFile(file.Local)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ReadVectors(t.Context(), data, 3, func(Vectors) error { return nil })
		ReadItems(t.Context(), data, func(Row) error { return nil })
		ReadQuarantine(t.Context(), data, func(Quarantined) error { return nil })
	})
}
