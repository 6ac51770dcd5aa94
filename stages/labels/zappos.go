package labels

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// The columns that UT-Zappos50K's folders tell beside meta-data.csv.
const (
	cidColumn   = "CID"
	brandColumn = "Brand"
)

// Zappos reads UT-Zappos50K's meta-data.csv (a column an attribute) or meta-data-bin.csv (a column
// ATTRIBUTE.VALUE of 0 and 1 for every value). Both tell an image by its CID, "100627-72", and neither
// its folder: keys are those of the images, CATEGORY/SUBCATEGORY/BRAND/100627.72.jpg with or without
// folders above, and the gallery has them all in that order. Beside the file's attributes there is
// "Brand", the last folder's name. Several values of one attribute are a class of their own, joined by
// ';' in ascending order. Images without a row have no labels, rows without an image are counted as
// dropped.
func Zappos(t Text, keys []string, tasks []Column) (*Gallery, error) {
	names := make([]string, len(tasks))
	for i, c := range tasks {
		names[i] = c.Task
	}
	b, err := newBuilder(names, false)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	labels, dropped, err := zapposRows(t, keys, tasks)
	if err != nil {
		return nil, err
	}
	b.gallery.Dropped = dropped
	for i, k := range keys {
		values := labels[cidOf(k)]
		if values == nil {
			values = make([]string, len(tasks))
		}
		for j, c := range tasks {
			if c.Name == brandColumn {
				values[j] = brandOf(k)
			}
		}
		if err := b.add(i, k, Nowhere, values); err != nil {
			return nil, fmt.Errorf("image %q: %w", k, err)
		}
	}
	return b.finish(), nil
}

// zapposRows reads the labels of the images that there are, by CID.
func zapposRows(t Text, keys []string, tasks []Column) (labels map[string][]string, dropped int, err error) {
	wanted := map[string]bool{}
	for _, k := range keys {
		wanted[cidOf(k)] = true
	}
	text, err := openTable(t)
	if err != nil {
		return nil, 0, err
	}
	read, err := attributes(text.header, tasks)
	if err != nil {
		return nil, 0, t.wrong(1, err)
	}
	labels = map[string][]string{}
	err = text.each(func(_ int, row []string) error {
		values, err := read(row)
		if err != nil {
			return err
		}
		cid := row[0]
		switch known, again := labels[cid]; {
		case again && !slices.Equal(known, values):
			return fmt.Errorf("%s %q stands above already, with other labels", cidColumn, cid)
		case again, !wanted[cid]:
			dropped++
		default:
			labels[strings.Clone(cid)] = values
		}
		return nil
	})
	return labels, dropped, err
}

// attributes returns a function that takes the tasks' values out of a row of either kind of file.
func attributes(header []string, tasks []Column) (func([]string) ([]string, error), error) {
	if header[0] != cidColumn {
		return nil, fmt.Errorf("the first column is %q, want %q", header[0], cidColumn)
	}
	binary := slices.ContainsFunc(header, func(h string) bool { return strings.Contains(h, ".") })
	places := make([][]int, len(tasks))
	for t, c := range tasks {
		for i, h := range header[1:] {
			if attribute, _, dotted := strings.Cut(h, "."); attribute == c.Name && dotted == binary {
				places[t] = append(places[t], i+1)
			}
		}
		if len(places[t]) == 0 && c.Name != brandColumn {
			return nil, fmt.Errorf("task %q: there is no attribute %q; the columns are %q", c.Task, c.Name, header)
		}
	}
	return func(row []string) ([]string, error) {
		values := make([]string, len(tasks))
		for t, columns := range places {
			list, err := valuesOf(header, row, columns, binary)
			if err != nil {
				return nil, err
			}
			values[t] = list
		}
		return values, nil
	}, nil
}

// valuesOf joins an attribute's values.
func valuesOf(header, row []string, columns []int, binary bool) (string, error) {
	var list []string
	for _, i := range columns {
		switch {
		case !binary:
			list = append(list, strings.Split(row[i], ";")...)
		case row[i] == "1":
			_, value, _ := strings.Cut(header[i], ".")
			list = append(list, value)
		case row[i] != "0":
			return "", fmt.Errorf("column %q holds %q, want 0 or 1", header[i], row[i])
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ";"), nil
}

// cidOf is the CID of an image: its name without the ending, dots as hyphens.
func cidOf(key string) string {
	name := path.Base(key)
	return strings.ReplaceAll(strings.TrimSuffix(name, path.Ext(name)), ".", "-")
}

// brandOf is the name of the folder that an image lies in, "" at the root.
func brandOf(key string) string {
	if dir := path.Dir(withDots(key)); dir != "." {
		return path.Base(dir)
	}
	return ""
}

// withDots undoes how file systems that know no trailing dot write the folder of a brand such as
// "L.A.M.B.": "L.A.M.B%2E".
func withDots(key string) string { return strings.ReplaceAll(key, "%2E/", "./") }
