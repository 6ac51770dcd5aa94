//go:build soak

package sinks

import (
	"fmt"
	"testing"
)

// TestSoakIndexes is TestIndexOverRandomNights with many galleries, and with codes of 8 bits.
func TestSoakIndexes(t *testing.T) {
	for _, factory := range []string{"IVF64,Flat", "IVF64,SQ8", "OPQ16,IVF64,PQ16np", "HNSW32", "Flat"} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%s/%d", factory, seed), func(t *testing.T) { randomNights(t, factory, 100+seed, 10) })
		}
	}
}
