// Package labels reads what is known of a gallery's images: a Gallery holds a class a task and image,
// where there is one, how the images are split into training, validation and test, and lists of
// triplets where somebody drew them by hand. It reads CSV files, UT-Zappos50K with the triplet lists of
// Conditional Similarity Networks, and CelebA, as their authors publish them.
package labels

import (
	"fmt"
	"slices"
)

// Missing is the class id of an image that has no label for a task.
const Missing = -1

// Split is the part of a data set that an image belongs to.
type Split uint8

// The splits; an image of Nowhere is used for nothing but as what the user asks for by itself.
const (
	Nowhere Split = iota
	Train
	Val
	Test
)

var splitNames = [...]string{Nowhere: "nowhere", Train: "train", Val: "val", Test: "test"}

// String implements fmt.Stringer.
func (s Split) String() string { return splitNames[s] }

// ParseSplit reads "train", "val" ("valid", "validation", "dev") or "test"; "" is Nowhere.
func ParseSplit(s string) (Split, error) {
	switch s {
	case "":
		return Nowhere, nil
	case "train":
		return Train, nil
	case "val", "valid", "validation", "dev":
		return Val, nil
	case "test":
		return Test, nil
	}
	return Nowhere, fmt.Errorf("%q is no split, want train, val or test", s)
}

// Gallery is a list of images and what is known of them. An image is named by its row everywhere.
type Gallery struct {
	Keys   []string // of the images, relative to the gallery's root, each once
	Splits []Split  // one an image; nil: the images are not split
	Tasks  []Task
	// Dropped counts entries of the files that are about no image of the gallery: rows that say the same
	// again, and rows and triplets of images that the gallery does not hold.
	Dropped int
}

// Task is the labels of one similarity.
type Task struct {
	Name     string
	Classes  []string            // their names in ascending order; an id is an index into them
	IDs      []int32             // one an image; Missing where it has no label
	Triplets map[Split][]Triplet // given lists; nil where triplets are to be drawn from the classes
}

// Triplet says that the anchor resembles Near more than Far. They are rows.
type Triplet struct{ Anchor, Near, Far int32 }

// Len is the number of images.
func (g *Gallery) Len() int { return len(g.Keys) }

// Names lists the tasks' names.
func (g *Gallery) Names() []string {
	names := make([]string, len(g.Tasks))
	for i, t := range g.Tasks {
		names[i] = t.Name
	}
	return names
}

// Task finds a task by its name.
func (g *Gallery) Task(name string) (*Task, bool) {
	i := slices.IndexFunc(g.Tasks, func(t Task) bool { return t.Name == name })
	if i < 0 {
		return nil, false
	}
	return &g.Tasks[i], true
}

// In lists the rows of a split, ascending: all rows where the images are not split.
func (g *Gallery) In(s Split) []int {
	var rows []int
	for i := range g.Keys {
		if g.Splits == nil || g.Splits[i] == s {
			rows = append(rows, i)
		}
	}
	return rows
}

// Rows maps keys to rows.
func (g *Gallery) Rows() map[string]int {
	rows := make(map[string]int, len(g.Keys))
	for i, k := range g.Keys {
		rows[k] = i
	}
	return rows
}

// Labelled counts the images with a label for the task.
func (t *Task) Labelled() int {
	n := 0
	for _, id := range t.IDs {
		if id != Missing {
			n++
		}
	}
	return n
}

// Select is the gallery of only these rows, in their order, each at most once. Classes keep their ids;
// triplets keep those whose three images are all selected, and what falls away is counted as dropped.
func (g *Gallery) Select(rows []int) *Gallery {
	out := &Gallery{Dropped: g.Dropped}
	to := make([]int32, g.Len())
	for i := range to {
		to[i] = -1
	}
	for i, r := range rows {
		to[r] = int32(i)
		out.Keys = append(out.Keys, g.Keys[r])
		if g.Splits != nil {
			out.Splits = append(out.Splits, g.Splits[r])
		}
	}
	for _, t := range g.Tasks {
		s := Task{Name: t.Name, Classes: t.Classes, IDs: make([]int32, len(rows))}
		for i, r := range rows {
			s.IDs[i] = t.IDs[r]
		}
		for split, list := range t.Triplets {
			out.Dropped += s.addTriplets(split, list, to)
		}
		out.Tasks = append(out.Tasks, s)
	}
	return out
}

// addTriplets adds a list whose numbers are indices into to, and returns how many of them lead nowhere.
func (t *Task) addTriplets(split Split, list []Triplet, to []int32) (dropped int) {
	kept := []Triplet{}
	for _, l := range list {
		l = Triplet{to[l.Anchor], to[l.Near], to[l.Far]}
		if l.Anchor < 0 || l.Near < 0 || l.Far < 0 {
			dropped++
			continue
		}
		kept = append(kept, l)
	}
	if t.Triplets == nil {
		t.Triplets = map[Split][]Triplet{}
	}
	t.Triplets[split] = append(t.Triplets[split], kept...)
	return dropped
}
