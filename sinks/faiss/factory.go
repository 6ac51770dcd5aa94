package faiss

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// factory is a FAISS factory string taken apart as far as Facet cares: vector transforms, then
// either inverted lists (IVF) with codes, or an index of another kind.
type factory struct {
	transforms []string // OPQ16_64, PCA64, …
	kind       string   // the component after them: IVF1024_HNSW32, HNSW32, Flat, PQ16np, …
	codes      []string // what follows: Flat, SQ8, PQ16np, …
	mapped     bool     // IDMap or IDMap2 was asked for

	nlist int // 0 unless inverted lists
}

var (
	transformPattern = regexp.MustCompile(`^(PCAW?R?[0-9]+|L2[nN]orm|RR[0-9]*|ITQ[0-9]*|OPQ[0-9]+(_[0-9]+)?|Pad[0-9]+)$`)
	ivfPattern       = regexp.MustCompile(`^IVF([0-9]+)(_HNSW[0-9]*|_NSG[0-9]+|\(.*\))?$`)
	imiPattern       = regexp.MustCompile(`^IMI2x([0-9]+)$`)
	hnswPattern      = regexp.MustCompile(`^HNSW[0-9]*(_.*)?$`)
	pqPattern        = regexp.MustCompile(`^(HNSW[0-9]*_)?PQ[0-9]+(x[0-9]+)?$`)
)

// refused are components that build indexes Facet cannot use, and why.
var refused = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`^(RFlat|Refine.*)$`), "a refining index cannot hold image ids"},
	{regexp.MustCompile(`^NSG`), "an NSG index takes all of its vectors in one call; use HNSW32"},
	{regexp.MustCompile(`^Residual`), "a two-layer index cannot be searched; use IVF"},
}

// Resolve turns a user's factory string into the one to build: PQ without polysemous training, which
// takes 24 times as long and is of no use here, and IDMap2 around what cannot hold ids of its own.
// It refuses, with the reason, what cannot work; Check asks FAISS itself.
func Resolve(s string) (string, error) {
	f, err := parseFactory(s)
	if err != nil {
		return "", err
	}
	return f.String(), nil
}

func parseFactory(s string) (factory, error) {
	f, err := readFactory(s)
	if err != nil {
		return factory{}, fmt.Errorf("index type %q: %w", s, err)
	}
	return f, nil
}

func readFactory(s string) (factory, error) {
	var f factory
	parts, err := splitFactory(s)
	if err != nil {
		return f, err
	}
	parts = f.takeMap(parts)
	for len(parts) > 0 && transformPattern.MatchString(parts[0]) {
		f.transforms, parts = append(f.transforms, parts[0]), parts[1:]
	}
	if len(parts) == 0 {
		return f, errors.New("it names no index; an example is \"IVF1024,SQ8\"")
	}
	for i, p := range parts {
		for _, r := range refused {
			if r.pattern.MatchString(p) {
				return f, fmt.Errorf("%s: %s", p, r.why)
			}
		}
		if pqPattern.MatchString(p) {
			parts[i] = p + "np"
		}
	}
	f.kind, f.codes = parts[0], parts[1:]
	return f, f.readLists()
}

// takeMap notes and removes the IDMap that may stand first or last.
func (f *factory) takeMap(parts []string) []string {
	isMap := func(p string) bool { return p == "IDMap" || p == "IDMap2" }
	if len(parts) > 0 && isMap(parts[0]) {
		f.mapped, parts = true, parts[1:]
	}
	if n := len(parts); n > 0 && isMap(parts[n-1]) {
		f.mapped, parts = true, parts[:n-1]
	}
	return parts
}

// maxLists is more than any gallery needs; FAISS itself takes the number as an int.
const maxLists = 1 << 26

func (f *factory) readLists() error {
	var n, shift string
	if m := ivfPattern.FindStringSubmatch(f.kind); m != nil {
		n = m[1]
	} else if m := imiPattern.FindStringSubmatch(f.kind); m != nil {
		shift = m[1]
	} else {
		return nil
	}
	lists, err := strconv.Atoi(n)
	if shift != "" {
		var bits int
		bits, err = strconv.Atoi(shift)
		lists = 1 << min(2*bits, 62)
	}
	switch {
	case err != nil || lists < 1 || lists > maxLists:
		return fmt.Errorf("%s: want 1 to %d lists", f.kind, maxLists)
	case f.mapped:
		return fmt.Errorf("IDMap around %s: inverted lists hold the ids themselves, and such indexes corrupt when merged; leave IDMap out", f.kind)
	case len(f.codes) == 0:
		return fmt.Errorf("%s says nothing about what the lists hold; add \",Flat\" or \",SQ8\"", f.kind)
	}
	f.nlist = lists
	return nil
}

// splitFactory splits at the commas outside of parentheses.
func splitFactory(s string) ([]string, error) {
	var parts []string
	depth, begin := 0, 0
	for i, r := range s {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			parts, begin = append(parts, s[begin:i]), i+1
		case r <= ' ' || r > '~':
			return nil, errors.New("it has a space or a special character in it")
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return nil, errors.New("its parentheses do not match")
	}
	parts = append(parts, s[begin:])
	for _, p := range parts {
		if p == "" {
			return nil, errors.New("a part of it is empty; an example is \"IVF1024,SQ8\"")
		}
	}
	return parts, nil
}

// plainCodes are the codes of inverted lists from which FAISS removes ids and to which it adds.
var plainCodes = regexp.MustCompile(`^(Flat|SQ[0-9a-z]+|PQ[0-9]+(x[0-9]+)?(np)?)$`)

// Updatable tells whether an index of that type can be kept up, see Spec.Update. Inverted lists of
// vectors, SQ or PQ codes can, behind any transform. A graph cannot lose a vector, and to copy a flat
// index is to build it.
func Updatable(factoryString string) bool {
	f, err := parseFactory(factoryString)
	return err == nil && f.nlist > 0 && len(f.codes) == 1 && plainCodes.MatchString(f.codes[0])
}

// String is the string for FAISS.
func (f factory) String() string {
	var parts []string
	if f.nlist == 0 {
		parts = append(parts, "IDMap2")
	}
	parts = append(parts, f.transforms...)
	parts = append(parts, f.kind)
	return strings.Join(append(parts, f.codes...), ",")
}

// knobs are an index's search parameters as one number, which trades speed for recall.
type knobs struct {
	format      string // of the setting, with %[1]d for the number; "" if there are none
	first, last int    // the number to begin with, and the last to try
}

const (
	firstProbe, lastProbe = 8, 4096
	firstEf, lastEf       = 32, 2048
)

func (f factory) knobs() knobs {
	switch {
	case f.nlist > 0 && strings.Contains(f.kind, "_HNSW"):
		// The graph over the centroids has to find them before they can be probed.
		return knobs{"nprobe=%[1]d,efSearch=%[2]d", min(firstProbe, f.nlist), min(lastProbe, f.nlist)}
	case f.nlist > 0:
		return knobs{"nprobe=%[1]d", min(firstProbe, f.nlist), min(lastProbe, f.nlist)}
	case hnswPattern.MatchString(f.kind):
		return knobs{"efSearch=%[1]d", firstEf, lastEf}
	}
	return knobs{}
}

func (k knobs) setting(v int) string {
	switch {
	case k.format == "":
		return ""
	case strings.Contains(k.format, "%[2]d"):
		return fmt.Sprintf(k.format, v, 2*v)
	}
	return fmt.Sprintf(k.format, v)
}
