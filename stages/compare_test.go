package stages

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

// earlier is a snapshot in memory.
type earlier struct {
	next  map[int]int64
	known map[int]map[string]*pipeline.Known
}

func (e earlier) Known(_ context.Context, shard int) (map[string]*pipeline.Known, int64, error) {
	known := map[string]*pipeline.Known{}
	maps.Copy(known, e.known[shard])
	return known, e.next[shard], nil
}

// published is what a snapshot of the items would know.
func published(deltas []*ShardDelta) earlier {
	e := earlier{map[int]int64{}, map[int]map[string]*pipeline.Known{}}
	for _, d := range deltas {
		e.next[d.Number], e.known[d.Number] = d.Next, map[string]*pipeline.Known{}
		for _, it := range d.Items {
			k := &pipeline.Known{ID: it.ID, ETag: it.ETag, Size: it.Size, Attributes: it.Attributes, Reject: it.Reject}
			e.known[d.Number][it.Key] = k
		}
	}
	return e
}

// A key keeps its id while others come and go, and the id of one that left is not given to another.
func TestCompareKeepsIDs(t *testing.T) {
	src := numbered(1000)
	deltas, items := plan(t, src[:900], 4, loadAtMost, nil)
	ids, used := map[string]int64{}, map[int64]string{}
	for _, it := range items {
		ids[it.Key], used[it.ID] = it.ID, it.Key
	}
	_, items = plan(t, src[100:], 4, loadAtMost, published(deltas))
	if len(items) != 900 {
		t.Fatalf("%d items, want 900", len(items))
	}
	for i, it := range items {
		if id, ok := ids[it.Key]; ok && id != it.ID {
			t.Errorf("%s had id %d and has %d", it.Key, id, it.ID)
		}
		if key, ok := used[it.ID]; ok && key != it.Key {
			t.Errorf("id %d was %s's and is %s's", it.ID, key, it.Key)
		}
		if i > 0 && items[i-1].ID >= it.ID {
			t.Fatalf("ids do not rise at item %d", i)
		}
	}
}

// What one change to a shard of ten images makes of it.
func TestCompareSortsChanges(t *testing.T) {
	bad := &pipeline.Reject{Reason: pipeline.Gone, Err: errors.New("404")}
	trust := Rules{Trust: true, Need: pipeline.NeedNothing, Attributes: true}
	with := func(change func(*Rules)) Rules {
		r := trust
		change(&r)
		return r
	}
	for what, c := range map[string]struct {
		change               func(refs []pipeline.Ref) []pipeline.Ref
		rules                Rules
		work                 Work
		added, deleted, need int // need: items for the model or to be tried again
	}{
		"nothing":                 {nil, trust, Keep, 0, 0, 0},
		"another ETag":            {func(r []pipeline.Ref) []pipeline.Ref { r[3].ETag = "x"; return r }, trust, Rebuild, 0, 0, 1},
		"another size":            {func(r []pipeline.Ref) []pipeline.Ref { r[3].Size++; return r }, trust, Rebuild, 0, 0, 1},
		"a size that is unknown":  {func(r []pipeline.Ref) []pipeline.Ref { r[3].Size = -1; return r }, trust, Keep, 0, 0, 0},
		"an ETag that is unknown": {func(r []pipeline.Ref) []pipeline.Ref { r[3].ETag = ""; return r }, trust, Rebuild, 0, 0, 1},
		"an attribute":            {func(r []pipeline.Ref) []pipeline.Ref { r[3].Attributes = []string{"y"}; return r }, trust, Describe, 0, 0, 0},
		"a key that left":         {func(r []pipeline.Ref) []pipeline.Ref { return r[:9] }, trust, Rebuild, 0, 1, 0},
		"a reject that left":      {func(r []pipeline.Ref) []pipeline.Ref { return r[1:] }, trust, Keep, 0, 1, 0},
		"a key that came":         {func(r []pipeline.Ref) []pipeline.Ref { return append(r, pipeline.Ref{Key: "new", ETag: "n"}) }, trust, Rebuild, 1, 0, 1},
		"all left":                {func([]pipeline.Ref) []pipeline.Ref { return nil }, trust, Rebuild, 0, 10, 0},
		"a reject to try again":   {nil, with(func(r *Rules) { r.Retry = func(r pipeline.Reason) bool { return r == pipeline.Gone } }), Rebuild, 0, 0, 1},
		"another reason's":        {nil, with(func(r *Rules) { r.Retry = func(r pipeline.Reason) bool { return r == pipeline.Denied } }), Keep, 0, 0, 0},
		"a changed task":          {nil, with(func(r *Rules) { r.Need = pipeline.NeedSome }), Rebuild, 0, 0, 9},
		"all tasks":               {nil, with(func(r *Rules) { r.Need = pipeline.NeedAll }), Rebuild, 0, 0, 9},
		"another format":          {nil, with(func(r *Rules) { r.Rewrite = true }), Rebuild, 0, 0, 0},
		"other columns":           {nil, with(func(r *Rules) { r.Attributes = false }), Describe, 0, 0, 0},
		"everything anew":         {nil, Rules{}, Rebuild, 0, 0, 10},
	} {
		src := numbered(10)
		deltas, _ := plan(t, slices.Clone(src), 1, loadAtMost, nil)
		first := published(deltas)
		first.known[0][src[0].Key].Reject = bad
		if c.change != nil {
			src = c.change(src)
		}
		d, err := Compare{Parent: first, Rules: c.rules}.Process(t.Context(), &ShardRefs{Refs: src})
		if err != nil {
			t.Fatal(err)
		}
		need := 0
		for _, it := range d.Items {
			if it.Reject == nil && it.Need != pipeline.NeedNothing {
				need++
			}
		}
		if d.Work != c.work || int(d.New) != c.added || int(d.Deleted) != c.deleted || need != c.need {
			t.Errorf("%s: work %d, %d new, %d deleted, %d to do; want %d, %d, %d, %d", what, d.Work, d.New, d.Deleted, need, c.work, c.added, c.deleted, c.need)
		}
	}
}

// What lies on the backlog comes back as it was.
func TestBacklog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b")
	b, err := NewBacklog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	known := &pipeline.Known{ID: 7, ETag: "e", Size: 3, ContentHash: [32]byte{1, 2}, Width: 4, Height: 5}
	bad := &pipeline.Known{ID: 8, ETag: "f", Size: -1, Reject: &pipeline.Reject{Reason: pipeline.Gone, Err: errors.New("404")}}
	items := []*pipeline.Item{
		{ID: 5, Ref: pipeline.Ref{Key: "a\xff\x00", ETag: "e", Size: -1, Attributes: []string{"x", ""}}},
		{ID: 7, Ref: pipeline.Ref{Key: "b"}, Known: known, Need: pipeline.NeedSome},
		{ID: 7, Ref: pipeline.Ref{Key: "c"}, Known: known, Need: pipeline.NeedNothing},
		{ID: 8, Ref: pipeline.Ref{Key: "d"}, Known: bad},
		{ID: 8, Ref: pipeline.Ref{Key: "e"}, Known: bad, Reject: bad.Reject, Last: true},
	}
	items[2].Settle(known)
	if err := errors.Join(b.Add(&ShardDelta{Items: items}), b.Rewind()); err != nil {
		t.Fatal(err)
	}
	for i, want := range items {
		got, err := b.Next(t.Context())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("item %d: %v: got\n%+v, want\n%+v", i, err, got, want)
		}
	}
	if _, err := b.Next(t.Context()); fmt.Sprint(err) != "EOF" {
		t.Errorf("after the last: %v", err)
	}
}
