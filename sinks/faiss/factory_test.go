package faiss

import (
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	for in, want := range map[string]string{
		"Flat":                          "IDMap2,Flat",
		"HNSW32":                        "IDMap2,HNSW32",
		"HNSW32,Flat":                   "IDMap2,HNSW32,Flat",
		"HNSW32_PQ16":                   "IDMap2,HNSW32_PQ16np",
		"IDMap,HNSW32":                  "IDMap2,HNSW32",
		"Flat,IDMap2":                   "IDMap2,Flat",
		"PQ16":                          "IDMap2,PQ16np",
		"PQ16np":                        "IDMap2,PQ16np",
		"PQ16x4fs":                      "IDMap2,PQ16x4fs",
		"OPQ16_64,PQ16x8":               "IDMap2,OPQ16_64,PQ16x8np",
		"IVF1024,Flat":                  "IVF1024,Flat",
		"IVF64,PQ16":                    "IVF64,PQ16np",
		"OPQ16_64,IVF65536_HNSW32,PQ16": "OPQ16_64,IVF65536_HNSW32,PQ16np",
		"PCA64,L2norm,IVF100,SQ8":       "PCA64,L2norm,IVF100,SQ8",
		"IVF64(HNSW16,Flat),SQ8":        "IVF64(HNSW16,Flat),SQ8",
		"IMI2x8,PQ16":                   "IMI2x8,PQ16np",
	} {
		got, err := Resolve(in)
		if err != nil || got != want {
			t.Errorf("%s becomes %q (%v), want %q", in, got, err, want)
		}
		if again, err := Resolve(got); err != nil || again != got {
			t.Errorf("%s becomes %q (%v) when resolved again", got, again, err)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "empty",
		"IVF64,":              "empty",
		"OPQ16_64":            "names no index",
		"IDMap2":              "names no index",
		"IDMap2,IVF64,Flat":   "corrupt when merged",
		"IVF64,Flat,IDMap":    "corrupt when merged",
		"IVF64":               "what the lists hold",
		"IVF0,Flat":           "lists",
		"IVF99999999999,Flat": "lists",
		"IMI2x99999,Flat":     "lists",
		"PQ16,RFlat":          "refining",
		"NSG32":               "HNSW32",
		"IVF64, Flat":         "space",
		"IVF64(Flat,SQ8":      "parentheses",
		"IVF64)Flat(,SQ8":     "parentheses",
	} {
		if got, err := Resolve(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q becomes %q, %v; want something about %q", in, got, err, want)
		}
	}
}

func TestKnobs(t *testing.T) {
	for in, want := range map[string][2]string{
		"Flat":                {"", ""},
		"OPQ8,PQ8":            {"", ""},
		"PCA64,HNSW32":        {"efSearch=32", "efSearch=2048"},
		"IVF4,Flat":           {"nprobe=4", "nprobe=4"},
		"OPQ8,IVF65536,PQ8":   {"nprobe=8", "nprobe=4096"},
		"IVF65536_HNSW32,SQ8": {"nprobe=8,efSearch=16", "nprobe=4096,efSearch=8192"},
	} {
		f, err := parseFactory(in)
		must(t, err)
		k := f.knobs()
		if got := [2]string{k.setting(k.first), k.setting(k.last)}; got != want {
			t.Errorf("%s is searched with %q, want %q", in, got, want)
		}
	}
}

// FuzzResolve: whatever a job file says must be refused or stay the same when resolved again.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"Flat", "OPQ16_64,IVF65536_HNSW32,PQ16", "IVF64(HNSW16,Flat),SQ8", "IDMap,PQ8", "),("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Resolve(s)
		if err != nil {
			return
		}
		if b, err := Resolve(a); err != nil || a != b {
			t.Errorf("%q becomes %q, then %q (%v)", s, a, b, err)
		}
	})
}
