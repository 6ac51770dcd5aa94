package faiss

import "testing"

func TestChoose(t *testing.T) {
	const gib = 1 << 30
	cases := []struct {
		n, dim int
		memory int64
		want   string
	}{
		{0, 128, 0, "Flat"},
		{9_999, 128, 0, "Flat"},
		{10_000, 128, 0, "HNSW32"},
		{36_485, 128, 0, "HNSW32"},
		{999_999, 128, 0, "HNSW32"},
		{999_999, 128, gib, "HNSW32"},
		{999_999, 128, gib / 2, "IVF4096,Flat"},
		{999_999, 128, gib / 4, "IVF4096,SQ8"},
		{999_999, 128, gib / 10, "OPQ64_128,IVF4096,PQ64np"},
		{10_000, 128, 1 << 20, "OPQ64_128,IVF256,PQ64np"}, // 20 vectors a list are too few
		{10_000, 128, 1, "OPQ8_32,IVF256,PQ8np"},          // nothing fits
		{1_000_000, 128, 0, "IVF32768_HNSW32,Flat"},       // lowered
		{5_000_000, 128, 0, "IVF65536_HNSW32,Flat"},
		{50_000_000, 128, 8 * gib, "IVF262144_HNSW32,SQ8"},
		{500_000_000, 128, 24 * gib, "OPQ32_128,IVF1048576_HNSW32,PQ32np"},
		{500_000_000, 100, 16 * gib, "OPQ16_64,IVF1048576_HNSW32,PQ16np"},
		{50_000, 8, 1, "IVF1024,SQ8"}, // nothing shorter for so few dimensions
	}
	for _, c := range cases {
		got := Choose(c.n, c.dim, c.memory)
		if got != c.want {
			t.Errorf("%d×%d in %d bytes is %s, want %s", c.n, c.dim, c.memory, got, c.want)
		}
		if resolved, err := Resolve(got); err != nil {
			t.Error(err)
		} else if _, err := TrainSize(resolved, c.n); err != nil {
			t.Error(err)
		}
	}
}

// TestChoicesAreFAISS lets FAISS itself build what is chosen, with lists few enough to be quick.
func TestChoicesAreFAISS(t *testing.T) {
	for _, dim := range []int{7, 64, 100, 512} {
		for _, c := range codings(dim) {
			if err := Check(t.Context(), c.around("IVF256"), task("style", dim)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestTrainSize(t *testing.T) {
	cases := []struct {
		factory string
		n, want int // -1: too few
	}{
		{"Flat", 1000, 0},
		{"HNSW32", 1_000_000, 0},
		{"L2norm,Flat", 1000, 0},
		{"SQ8", 1_000_000, 65536},
		{"PQ16", 1000, 1000},
		{"HNSW32_SQ8", 1000, 1000},
		{"IVF1024,Flat", 1_000_000, 262144},
		{"IVF1024,Flat", 40_000, 40_000},
		{"IVF1024,Flat", 30_719, -1},
		{"IVF64,SQ8", 1_000_000, 65536},
		{"IVF4096,Flat", 1_000_000, 409_600},
		{"OPQ16_64,IVF65536_HNSW32,PQ16", 9_000_000, 2_621_440},
	}
	for _, c := range cases {
		got, err := TrainSize(c.factory, c.n)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%s of %d trains on %d (%v), want %d", c.factory, c.n, got, err, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	const n = 100_000
	s := NewSplit(n, 1000, 20_000)
	held, sampled := 0, 0
	for i := range int64(n) {
		id := i%16<<40 | i/16
		if s.HeldOut(id) {
			held++
			if s.Sampled(id) {
				t.Fatalf("%d is held out and trained on", id)
			}
		}
		if s.Sampled(id) {
			sampled++
		}
	}
	if held < 850 || held > 1150 || sampled < 19_000 || sampled > 21_000 {
		t.Errorf("%d held out and %d sampled, want about 1000 and 20000", held, sampled)
	}
	all := NewSplit(50, 1000, 1000)
	for id := range int64(50) {
		if !all.HeldOut(id) && !all.Sampled(id) {
			t.Errorf("%d is neither held out nor sampled, and all were asked for", id)
		}
	}
}

func TestIDSet(t *testing.T) {
	var a, b, twice, none IDSet
	a.Add(1, 2, 3<<40)
	b.Add(3 << 40)
	b.Add(2, 1)
	twice.Add(1, 2, 2)
	if a != b || a == twice || a == none || a.String() == twice.String() {
		t.Errorf("sets %v, %v, %v and %v", a, b, twice, none)
	}
}
