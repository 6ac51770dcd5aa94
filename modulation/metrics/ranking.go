package metrics

import "math"

// digit is the number of bits that one pass of the sort looks at; three passes cover 32 bits.
const digit = 11

// ranking sorts scores, keeping its memory.
type ranking struct {
	a, b   []uint64
	counts [3][1 << digit]uint32
}

func newRanking(n int) *ranking { return &ranking{a: make([]uint64, n), b: make([]uint64, n)} }

// order returns the indices of the scores in its elements' low 32 bits, the highest score first, equal
// ones in their order. It is valid until the next call. A radix sort: it takes the time of some ten
// passes over memory, however the scores lie.
func (r *ranking) order(scores []float32) []uint64 {
	for p := range r.counts {
		clear(r.counts[p][:])
	}
	for i, s := range scores {
		k := descending(s)
		r.a[i] = uint64(k)<<32 | uint64(i)
		for p := range r.counts {
			r.counts[p][k>>(p*digit)&(1<<digit-1)]++
		}
	}
	from, to := r.a, r.b
	for p := range r.counts {
		counts, at := &r.counts[p], uint32(0)
		for d, n := range counts {
			counts[d] = at
			at += n
		}
		for _, v := range from {
			d := v >> (32 + p*digit) & (1<<digit - 1)
			to[counts[d]] = v
			counts[d]++
		}
		from, to = to, from
	}
	return from
}

// descending maps floats to integers that are smaller the larger the float is; −0 is 0, NaN comes last
// or first by its sign.
func descending(s float32) uint32 {
	b := math.Float32bits(s + 0)
	if b>>31 == 0 {
		return ^(b | 1<<31)
	}
	return b
}
