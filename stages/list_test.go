package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

type refs []pipeline.Ref

func (s *refs) Next(context.Context) (pipeline.Ref, error) {
	if len(*s) == 0 {
		return pipeline.Ref{}, io.EOF
	}
	r := (*s)[0]
	*s = (*s)[1:]
	return r, nil
}

func numbered(n int) refs {
	var rs refs
	for i := range n {
		rs = append(rs, pipeline.Ref{Key: fmt.Sprintf("images/%d.jpg", i), ETag: fmt.Sprint(i), Size: int64(i), Attributes: []string{"x", ""}})
	}
	return rs
}

// plan lists the refs, plans them for the number of shards, loading at most so many refs at a time, and
// compares them with a parent.
func plan(t *testing.T, src refs, shards int, atMost int64, parent Parent) (deltas []*ShardDelta, items []*pipeline.Item) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	l, err := List(t.Context(), &src, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPlan(l, shards)
	p.loadAtMost = atMost
	c := Compare{Parent: parent, Rules: Rules{Trust: true}}
	for {
		s, err := p.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.Process(t.Context(), s)
		if err != nil || d.Number != len(deltas) {
			t.Fatalf("shard %d comes as number %d: %v", d.Number, len(deltas), err)
		}
		deltas, items = append(deltas, d), append(items, d.Items...)
	}
	l.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the spool is left behind: %v", err)
	}
	return deltas, items
}

// The plan must not depend on the order of the listing, must hold every ref once, and splitting
// partitions that are too large for memory must not change it.
func TestPlanOrdersAndNumbers(t *testing.T) {
	for _, c := range []struct{ n, shards int }{{0, 1}, {1, 1}, {3000, 1}, {3000, 4}, {3000, 256}, {3000, 4096}} {
		t.Run(fmt.Sprintf("%d refs in %d shards", c.n, c.shards), func(t *testing.T) {
			src := numbered(c.n)
			_, items := plan(t, slices.Clone(src), c.shards, loadAtMost, nil)
			slices.Reverse(src)
			_, again := plan(t, src, c.shards, 2, nil)
			checkPlan(t, items, c.n, c.shards)
			for i := range items {
				if items[i].Key != again[i].Key || items[i].ID != again[i].ID {
					t.Fatalf("item %d is %s, and %s when listed backwards", i, items[i].Key, again[i].Key)
				}
			}
		})
	}
}

func checkPlan(t *testing.T, items []*pipeline.Item, n, shards int) {
	t.Helper()
	if len(items) != n {
		t.Fatalf("%d items, want %d", len(items), n)
	}
	seen := map[string]bool{}
	for i, it := range items {
		if i > 0 && items[i-1].ID >= it.ID {
			t.Fatalf("ids do not rise at item %d", i)
		}
		if it.Shard() != ShardOf(it.Key, shards) {
			t.Fatalf("%s is in shard %d, want %d", it.Key, it.Shard(), ShardOf(it.Key, shards))
		}
		last := i == len(items)-1 || items[i+1].Shard() != it.Shard()
		if it.Last != last {
			t.Fatalf("item %d: Last is %v", i, it.Last)
		}
		if want := fmt.Sprintf("images/%s.jpg", it.ETag); it.Key != want || it.Size < 0 || len(it.Attributes) != 2 {
			t.Fatalf("ref came back as %+v", it.Ref)
		}
		seen[it.Key] = true
	}
	if len(seen) != n {
		t.Fatalf("%d keys, want %d", len(seen), n)
	}
}

func TestPlanDropsDuplicates(t *testing.T) {
	src := numbered(100)
	again := src[40]
	again.ETag = "later"
	deltas, items := plan(t, append(src, again), 4, loadAtMost, nil)
	checkPlan(t, items, 100, 4)
	var allotted, doubled int64
	for _, d := range deltas {
		allotted += d.Next
		doubled += d.Doubled
	}
	if allotted != 100 || doubled != 1 || len(items) != 100 {
		t.Fatalf("%d items, %d duplicates, %d sequences allotted; want 100, 1 and 100", len(items), doubled, allotted)
	}
}

func TestListingChoosesShards(t *testing.T) {
	src := numbered(5000)
	l, err := List(t.Context(), &src, filepath.Join(t.TempDir(), "s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ size, want int }{{16384, 1}, {5000, 1}, {4999, 2}, {1000, 8}} {
		if got := l.Shards(c.size); got != c.want {
			t.Errorf("shards of at most %d: %d, want %d", c.size, got, c.want)
		}
	}
}

// The published ids rest on this hash: it may never change.
func TestShardOfIsStable(t *testing.T) {
	for key, want := range map[string]int{"": 0xef46, "images/1163.jpg": 0x1f8d, "ü/\x00": 0xc044} {
		if got := ShardOf(key, MaxShards); got != want {
			t.Errorf("ShardOf(%q) = %#x, want %#x", key, got, want)
		}
		if ShardOf(key, 1) != 0 || ShardOf(key, 16) != ShardOf(key, MaxShards)>>12 {
			t.Errorf("shards of %q do not nest", key)
		}
	}
}
