package faiss

import (
	"regexp"
	"slices"
)

var flatGraph = regexp.MustCompile(`^HNSW[0-9]*(_Flat)?$`)

// Fidelity says what can be asked of an index of a resolved factory string. Lossless: it keeps vectors as
// they are, so that the distance of one to itself is exact. Certain: a search for a vector that it holds
// must find it. A type that can't be read is neither.
func Fidelity(resolved string) (lossless, certain bool) {
	f, err := parseFactory(resolved)
	if err != nil || len(f.transforms) > 0 {
		return false, false
	}
	flat := len(f.codes) == 0 || slices.Equal(f.codes, []string{"Flat"})
	switch {
	case f.kind == "Flat":
		return flat, flat
	case f.nlist > 0:
		// Its own list is the first to be probed, unless a graph leads to the lists.
		exact := ivfPattern.FindStringSubmatch(f.kind)
		return flat, flat && len(exact) > 2 && exact[2] == ""
	case flatGraph.MatchString(f.kind):
		return flat, false
	}
	return false, false
}
