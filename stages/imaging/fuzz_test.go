package imaging

import (
	"bytes"
	"testing"

	"github.com/facet-search/facet/internal/hostile"
)

// Whatever the bytes, decoding ends in pixels or in a reject, and always in the same.
func FuzzDecode(f *testing.F) {
	for _, name := range fixtures(f) {
		f.Add(fixture(f, name))
	}
	cases, err := corpus()
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if c.Like == "" && c.Want != hostile.Either && len(c.Data) < 2048 { // neither a fixture that was cut nor one with luggage
			f.Add(c.Data)
		}
	}
	limits := Limits{Pixels: 1 << 16, Scans: 20} // enough to find faults, little enough to be fast
	p := golden{Resize: "shorter", Size: [2]int{8, 9}, Filter: "bicubic", Orientation: "apply"}.preprocess()
	var decoders []*Decoder
	for _, k := range kernels() {
		d, err := NewDecoder(p, limits, Options{Kernel: k})
		if err != nil {
			f.Fatal(err)
		}
		decoders = append(decoders, d)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first := make([]byte, decoders[0].OutputBytes())
		info, err := decoders[0].Decode(data, first)
		reason := reasonOf(t, err)
		for _, d := range decoders[1:] {
			dst := make([]byte, d.OutputBytes())
			other, err := d.Decode(data, dst)
			if again := reasonOf(t, err); again != reason || other != info {
				t.Fatalf("%+v %q, then %+v %q", info, reason, other, again)
			}
			if reason == "" && !bytes.Equal(dst, first) {
				t.Fatalf("two kernels, two pictures: %+v", info)
			}
		}
		if peeked, err := Peek(data); reason == "" && (err != nil || peeked != info) {
			t.Fatalf("Peek says %+v, %v; Decode %+v", peeked, err, info)
		}
	})
}
