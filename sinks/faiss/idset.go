package faiss

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// IDSet is a digest of a set of ids that does not depend on their order and takes no memory to
// speak of: their number and the sum of their SHA-256 hashes modulo 2^256. Two sets are equal if
// their digests are; an id taken twice changes both fields. The zero value is the empty set.
type IDSet struct {
	N   int64
	Sum [4]uint64 // least significant word first
}

// Add takes ids into the set.
func (s *IDSet) Add(ids ...int64) {
	var b [8]byte
	for _, id := range ids {
		binary.LittleEndian.PutUint64(b[:], uint64(id))
		h := sha256.Sum256(b[:])
		var carry uint64
		for i := range s.Sum {
			s.Sum[i], carry = bits.Add64(s.Sum[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
		}
		s.N++
	}
}

// String is the digest in hexadecimal, with the number of ids before it.
func (s IDSet) String() string {
	return fmt.Sprintf("%d:%016x%016x%016x%016x", s.N, s.Sum[3], s.Sum[2], s.Sum[1], s.Sum[0])
}
