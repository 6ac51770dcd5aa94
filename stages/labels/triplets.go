package labels

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Filenames reads the list that the triplets of Conditional Similarity Networks count in: one path a
// line, the first being number 0. Despite its name, filenames.json, it is no JSON.
func Filenames(t Text) ([]string, error) {
	var names []string
	err := t.eachLine(func(_ int, text string) error {
		if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
			return errors.New("it is JSON, want one path a line")
		}
		names = append(names, text)
		return nil
	})
	return names, err
}

// Triplets reads a list whose every line is "anchor far close", three numbers of names as Filenames
// gives them, into a task of the gallery. Triplets with an image that the gallery does not hold are
// counted as dropped. A folder's trailing dot may be written "%2E" on either side.
func (g *Gallery) Triplets(t Text, task string, split Split, names []string) error {
	into, ok := g.Task(task)
	if !ok {
		return fmt.Errorf("%s: there is no task %q", t.Name, task)
	}
	var list []Triplet
	err := t.eachLine(func(_ int, text string) error {
		n, err := threeOf(text, len(names))
		if err != nil {
			return err
		}
		list = append(list, Triplet{Anchor: n[0], Far: n[1], Near: n[2]})
		return nil
	})
	if err != nil {
		return err
	}
	g.Dropped += into.addTriplets(split, list, g.find(names))
	return nil
}

func threeOf(text string, limit int) (n [3]int32, err error) {
	fields := strings.Fields(text)
	if len(fields) != len(n) {
		return n, fmt.Errorf("%d fields, want the numbers of anchor, far and close image", len(fields))
	}
	for i, f := range fields {
		v, err := strconv.ParseUint(f, 10, 31)
		if err != nil || v >= uint64(limit) {
			return n, fmt.Errorf("%q is no number of an image, want 0 to %d", f, limit-1)
		}
		n[i] = int32(v)
	}
	return n, nil
}

// find maps names to rows, -1 where the gallery does not hold the image.
func (g *Gallery) find(names []string) []int32 {
	rows := make(map[string]int32, len(g.Keys))
	for i, k := range g.Keys {
		rows[withDots(k)] = int32(i)
	}
	found := make([]int32, len(names))
	for i, n := range names {
		row, ok := rows[withDots(n)]
		if !ok {
			row = -1
		}
		found[i] = row
	}
	return found
}
