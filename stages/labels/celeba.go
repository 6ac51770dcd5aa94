package labels

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Identity is the name of the task whose classes are the people of identity_CelebA.txt.
const Identity = "identity"

// CelebAFiles are the annotations of CelebA; those with a nil Reader are not there.
type CelebAFiles struct {
	Attributes Text // list_attr_celeba.txt: a count, the attributes' names, then "000001.jpg -1 1 …"
	Partition  Text // list_eval_partition.txt: "000001.jpg 0", 1 for validation, 2 for test
	Identities Text // identity_CelebA.txt: "000001.jpg 2880"
}

// CelebA reads the attributes (classes "no" and "yes") and the identity that tasks name. The images
// are those of the attributes, or of the identities where no attribute is a task; one that another
// file does not know has no label, or is nowhere. Rows of other images are counted as dropped.
func CelebA(f CelebAFiles, tasks []Column) (*Gallery, error) {
	names := make([]string, len(tasks))
	for i, c := range tasks {
		names[i] = c.Task
	}
	b, err := newBuilder(names, f.Partition.Reader != nil)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	c := celebA{tasks: tasks, values: map[string][]string{}}
	if slices.ContainsFunc(tasks, func(t Column) bool { return t.Name != Identity }) {
		if err := c.attributes(f.Attributes); err != nil {
			return nil, err
		}
	}
	identity := slices.IndexFunc(tasks, func(t Column) bool { return t.Name == Identity })
	if identity >= 0 {
		if err := c.identities(f.Identities, identity); err != nil {
			return nil, err
		}
	}
	splits, err := c.partition(f.Partition)
	if err != nil {
		return nil, err
	}
	for i, k := range c.keys {
		if err := b.add(i, k, splits[k], c.values[k]); err != nil {
			return nil, fmt.Errorf("image %q: %w", k, err)
		}
	}
	b.gallery.Dropped = c.dropped
	return b.finish(), nil
}

// celebA is what was read so far.
type celebA struct {
	tasks   []Column
	keys    []string
	values  map[string][]string // one a task
	dropped int
}

// attributes reads the table whose header is two lines.
func (c *celebA) attributes(t Text) error {
	if t.Reader == nil {
		return fmt.Errorf("labels: tasks %q want the file of attributes", c.tasks)
	}
	count, header, last := 0, []string(nil), 0
	places := make([]int, len(c.tasks))
	err := t.eachLine(func(line int, text string) (err error) {
		last = line
		switch {
		case line == 1:
			if count, err = strconv.Atoi(text); err != nil || count < 0 {
				return fmt.Errorf("%q is no number of images", text)
			}
			return nil
		case header == nil:
			header = strings.Fields(text)
			return c.places(header, places)
		}
		return c.attributeRow(strings.Fields(text), header, places)
	})
	if err != nil {
		return err
	}
	if len(c.keys) != count || header == nil {
		return t.wrong(last, fmt.Errorf("the file ends after %d images, its first line says %d", len(c.keys), count))
	}
	return nil
}

// places finds the tasks' columns, -1 for the identity.
func (c *celebA) places(header []string, places []int) error {
	for i, t := range c.tasks {
		places[i] = slices.Index(header, t.Name)
		if places[i] < 0 && t.Name != Identity {
			return fmt.Errorf("there is no attribute %q; there are %q", t.Name, header)
		}
	}
	return nil
}

func (c *celebA) attributeRow(fields, header []string, places []int) error {
	if len(fields) != len(header)+1 {
		return fmt.Errorf("%d fields, want a name and %d attributes", len(fields), len(header))
	}
	values := make([]string, len(c.tasks))
	for i, f := range fields[1:] {
		if f != "1" && f != "-1" {
			return fmt.Errorf("attribute %q is %q, want 1 or -1", header[i], f)
		}
	}
	for t, p := range places {
		if p >= 0 {
			values[t] = map[string]string{"1": "yes", "-1": "no"}[fields[p+1]]
		}
	}
	return c.image(fields[0], values)
}

// image takes a new image.
func (c *celebA) image(key string, values []string) error {
	if _, again := c.values[key]; again {
		return fmt.Errorf("image %q is there twice", key)
	}
	c.keys = append(c.keys, key)
	c.values[key] = values
	return nil
}

// identities reads the people, and takes their images if no file came before.
func (c *celebA) identities(t Text, task int) error {
	if t.Reader == nil {
		return fmt.Errorf("labels: task %q wants the file of identities", c.tasks[task].Task)
	}
	first := len(c.keys) == 0
	return t.pairs(func(key, who string) error {
		if _, err := strconv.ParseUint(who, 10, 63); err != nil {
			return fmt.Errorf("%q is no number of a person", who)
		}
		if first {
			if err := c.image(key, make([]string, len(c.tasks))); err != nil {
				return err
			}
		}
		values, known := c.values[key]
		switch {
		case !known:
			c.dropped++
			return nil
		case values[task] != "" && values[task] != who:
			return fmt.Errorf("image %q is there twice, with other labels", key)
		}
		values[task] = who
		return nil
	})
}

// partition reads the splits.
func (c *celebA) partition(t Text) (map[string]Split, error) {
	splits := map[string]Split{}
	if t.Reader == nil {
		return splits, nil
	}
	err := t.pairs(func(key, part string) error {
		i := slices.Index([]string{"0", "1", "2"}, part)
		if i < 0 {
			return fmt.Errorf("%q is no part, want 0, 1 or 2", part)
		}
		if _, known := c.values[key]; !known {
			c.dropped++
			return nil
		}
		split := []Split{Train, Val, Test}[i]
		if s, again := splits[key]; again && s != split {
			return fmt.Errorf("image %q is there twice, in another part", key)
		}
		splits[key] = split
		return nil
	})
	return splits, err
}

// pairs calls do with the two fields of every line.
func (t Text) pairs(do func(key, value string) error) error {
	return t.eachLine(func(_ int, text string) error {
		f := strings.Fields(text)
		if len(f) != 2 {
			return fmt.Errorf("%d fields, want an image and a number", len(f))
		}
		return do(f[0], f[1])
	})
}
