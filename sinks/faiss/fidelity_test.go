package faiss

import "testing"

func TestFidelity(t *testing.T) {
	for factory, want := range map[string][2]bool{
		"Flat": {true, true}, "IDMap2,Flat": {true, true}, "IVF64,Flat": {true, true}, "IVF64_HNSW32,Flat": {true, false},
		"IDMap2,HNSW32": {true, false}, "HNSW32,Flat": {true, false}, "HNSW32_SQ8": {}, "IVF64,SQ8": {}, "OPQ16_64,IVF64,PQ16np": {},
		"PCA32,Flat": {}, "PQ16np": {}, "SQ8": {}, "IMI2x4,Flat": {true, false}, "": {},
	} {
		if lossless, certain := Fidelity(factory); [2]bool{lossless, certain} != want {
			t.Errorf("%q: lossless %v, certain %v, want %v", factory, lossless, certain, want)
		}
	}
}
