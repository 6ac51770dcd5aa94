package faiss

import "math"

// Split picks, by a hash of the image id, which vectors are held out to measure recall and which of
// the others are trained on. The same ids give the same answer in every run, wherever they stand in
// the gallery and whatever else it holds.
type Split struct{ held, sampled uint64 }

// NewSplit makes a split that holds out about `hold` of n vectors, but at most a tenth of them, and
// samples about train of the others. Hash values vary: the numbers are met within a few times their
// square root, except that asking for all the others gives all.
func NewSplit(n, hold, train int) Split {
	hold = min(hold, n/10)
	return Split{held: share(hold, n), sampled: share(train, n-hold)}
}

// share is the threshold below which part out of all hashes lie.
func share(part, all int) uint64 {
	if part >= all {
		return math.MaxUint64
	}
	return uint64(float64(max(part, 0)) / float64(all) * (1 << 63) * 2)
}

// HeldOut tells whether the vector is held out.
func (s Split) HeldOut(id int64) bool { return mix(uint64(id)^0x6865_6c64) < s.held }

// Sampled tells whether the vector is trained on; it is never held out then.
func (s Split) Sampled(id int64) bool {
	return !s.HeldOut(id) && (s.sampled == math.MaxUint64 || mix(uint64(id)) < s.sampled)
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014): ids differ in a few low bits only.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
