package modulation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/facet-search/facet/pipeline"
)

// Digest is a SHA-256. Its text form is 64 hexadecimal digits.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText is the text form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) || len(text)%2 != 0 {
		return fmt.Errorf("digest %q: want %d hexadecimal digits", text, hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("digest %q: %w", text, err)
	}
	return nil
}

// Digests say what an embedding was computed with. A task's embedding of an image can be reused if and
// only if Preprocess and the task's digest are the same.
type Digests struct {
	File       Digest   // of the file's bytes
	Preprocess Digest   // see PreprocessDigest
	Tasks      []Digest // of the graph and weights behind each task's output, see graph.Digest
}

func (m *Model) digest(file []byte) error {
	m.Digests = Digests{File: sha256.Sum256(file), Preprocess: PreprocessDigest(m.Preprocess), Tasks: make([]Digest, len(m.Tasks))}
	for i, t := range m.Tasks {
		d, err := m.graph.Digest(t.Output)
		if err != nil {
			return fmt.Errorf("task %q: %w", t.Name, err)
		}
		m.Digests.Tasks[i] = d
	}
	return nil
}

// PreprocessDigest identifies what a preprocessing does: two that give the same tensors by definition
// have the same digest. It is SHA-256 over fields, each an 8-byte little-endian length and its bytes:
// "facet.preprocess/1", resize, height and width resized to, height and width put out, filter, mean (3),
// std (3), scale, channels, orientation, background (3). Integers are 8 bytes, little-endian; mean, std
// and scale are the 4 bytes of float32, in which Preprocess computes, with -0 as 0.
func PreprocessDigest(p pipeline.Preprocess) Digest {
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	text := func(s string) { field([]byte(s)) }
	integer := func(v int) { field(binary.LittleEndian.AppendUint64(nil, uint64(v))) }
	number := func(v float64) {
		field(binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)+0))) // -0 + 0 is 0
	}
	text("facet.preprocess/1")
	text(p.Resize)
	height, width := p.Output()
	for _, v := range []int{p.Size[0], p.Size[1], height, width} {
		integer(v)
	}
	text(p.Filter)
	for _, v := range append(append(p.Mean[:], p.Std[:]...), p.Scale) {
		number(v)
	}
	text(p.Channels)
	text(p.Orientation)
	for _, v := range p.Background {
		integer(int(v))
	}
	return Digest(h.Sum(nil))
}
