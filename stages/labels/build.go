package labels

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxImages keeps rows within an int32.
const maxImages = 1 << 31

// builder collects rows into a gallery.
type builder struct {
	gallery Gallery
	classes []map[string]int32 // of each task, name to id in order of appearance
	places  map[string]place   // of the keys
}

// place is where a key came first.
type place struct{ line, row int }

func newBuilder(tasks []string, split bool) (*builder, error) {
	if len(tasks) == 0 {
		return nil, errors.New("no tasks are named")
	}
	b := &builder{places: map[string]place{}}
	for i, name := range tasks {
		if name == "" || slices.Contains(tasks[:i], name) {
			return nil, fmt.Errorf("task %q is empty or named twice", name)
		}
		b.gallery.Tasks = append(b.gallery.Tasks, Task{Name: name})
		b.classes = append(b.classes, map[string]int32{})
	}
	if split {
		b.gallery.Splits = []Split{}
	}
	return b, nil
}

// add takes an image and its class for each task, "" for none. A key may come again with the same
// labels, which is counted; with others it is an error.
func (b *builder) add(line int, key string, split Split, values []string) error {
	if key == "" {
		return errors.New("the key is empty")
	}
	ids := make([]int32, len(values))
	for t, v := range values {
		if !utf8.ValidString(v) {
			return fmt.Errorf("task %q: the label %q is not UTF-8", b.gallery.Tasks[t].Name, v)
		}
		ids[t] = b.class(t, v)
	}
	if first, again := b.places[key]; again {
		return b.repeat(first, key, split, ids)
	}
	if b.gallery.Len() == maxImages {
		return fmt.Errorf("more than %d images", maxImages)
	}
	key = strings.Clone(key) // a field of a row that need not be kept
	b.places[key] = place{line, b.gallery.Len()}
	b.gallery.Keys = append(b.gallery.Keys, key)
	if b.gallery.Splits != nil {
		b.gallery.Splits = append(b.gallery.Splits, split)
	}
	for t, id := range ids {
		b.gallery.Tasks[t].IDs = append(b.gallery.Tasks[t].IDs, id)
	}
	return nil
}

// class is the id of a task's class, a new one if need be.
func (b *builder) class(task int, name string) int32 {
	if name == "" {
		return Missing
	}
	id, ok := b.classes[task][name]
	if !ok {
		id = int32(len(b.classes[task]))
		b.classes[task][strings.Clone(name)] = id
	}
	return id
}

// repeat compares a row with the one that the key had first.
func (b *builder) repeat(first place, key string, split Split, ids []int32) error {
	same := b.gallery.Splits == nil || b.gallery.Splits[first.row] == split
	for t, id := range ids {
		same = same && b.gallery.Tasks[t].IDs[first.row] == id
	}
	if !same {
		return fmt.Errorf("key %q stands on line %d already, with other labels", key, first.line)
	}
	b.gallery.Dropped++
	return nil
}

// finish numbers the classes in the order of their names, so that an id does not depend on the rows.
func (b *builder) finish() *Gallery {
	for t := range b.gallery.Tasks {
		task := &b.gallery.Tasks[t]
		for name := range b.classes[t] {
			task.Classes = append(task.Classes, name)
		}
		slices.Sort(task.Classes)
		to := make([]int32, len(task.Classes))
		for id, name := range task.Classes {
			to[b.classes[t][name]] = int32(id)
		}
		for i, id := range task.IDs {
			if id != Missing {
				task.IDs[i] = to[id]
			}
		}
	}
	return &b.gallery
}
