package labels

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Column says which column of a file holds a task's classes.
type Column struct{ Task, Name string }

// CSVSpec says what a CSV file's columns mean.
type CSVSpec struct {
	// Key is the column of the images' keys, or a pattern such as "images/{id}.jpg", in which names of
	// columns in braces stand for their values.
	Key     string
	Tasks   []Column
	Missing []string // values that mean that there is no label, beside the empty one
	Split   string   // column of train, val or test; ""
	Group   Grouping // splits the images where no column does
}

// Grouping splits images by the value of a column: images that share it are on the same side, which
// follows from the value alone.
type Grouping struct {
	Column    string  // "": no grouping
	Val, Test float64 // shares of the values, 0 to 1; the rest is for training
}

// of is the split of a value.
func (g Grouping) of(value string) Split {
	sum := sha256.Sum256([]byte(value))
	u := float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
	switch {
	case u < g.Test:
		return Test
	case u < g.Test+g.Val:
		return Val
	}
	return Train
}

// CSV reads a file as RFC 4180 has it, whose first line names the columns. Every row must have as many
// fields as that line. Labels and keys are taken as they stand, without the blanks around them.
func CSV(t Text, spec CSVSpec) (*Gallery, error) {
	if spec.Split != "" && spec.Group.Column != "" {
		return nil, errors.New("labels: split either by a column or by groups")
	}
	if spec.Group.Val < 0 || spec.Group.Test < 0 || spec.Group.Val+spec.Group.Test > 1 {
		return nil, fmt.Errorf("labels: shares of %v for validation and %v for test", spec.Group.Val, spec.Group.Test)
	}
	text, err := openTable(t)
	if err != nil {
		return nil, err
	}
	c, err := bind(text.header, spec)
	if err != nil {
		return nil, t.wrong(1, err)
	}
	return c.read(text, spec)
}

// columns are the places of what the specification names.
type columns struct {
	key   []part
	tasks []int
	split int // -1: none
	group int
}

// part is a piece of a key: a column's value, or what stands between.
type part struct {
	literal string
	column  int // -1: the literal
}

func bind(header []string, spec CSVSpec) (c columns, err error) {
	find := func(name string) int {
		i := slices.Index(header, name)
		if i < 0 && err == nil {
			err = fmt.Errorf("there is no column %q; there are %q", name, header)
		}
		return i
	}
	c.split, c.group = -1, -1
	c.key = keyParts(spec.Key, find)
	for _, t := range spec.Tasks {
		c.tasks = append(c.tasks, find(t.Name))
	}
	if spec.Split != "" {
		c.split = find(spec.Split)
	}
	if spec.Group.Column != "" {
		c.group = find(spec.Group.Column)
	}
	return c, err
}

// keyParts takes a pattern apart; one without braces is a column.
func keyParts(pattern string, find func(string) int) []part {
	if !strings.Contains(pattern, "{") {
		return []part{{column: find(pattern)}}
	}
	var parts []part
	for pattern != "" {
		before, rest, open := strings.Cut(pattern, "{")
		name, after, closed := strings.Cut(rest, "}")
		if !open || !closed {
			return append(parts, part{literal: pattern, column: -1})
		}
		parts = append(parts, part{literal: before, column: -1}, part{column: find(name)})
		pattern = after
	}
	return parts
}

func (c columns) read(text *table, spec CSVSpec) (*Gallery, error) {
	names := make([]string, len(spec.Tasks))
	for i, t := range spec.Tasks {
		names[i] = t.Task
	}
	b, err := newBuilder(names, c.split >= 0 || c.group >= 0)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	values := make([]string, len(c.tasks))
	err = text.each(func(line int, row []string) error {
		for t, i := range c.tasks {
			values[t] = row[i]
			if slices.Contains(spec.Missing, row[i]) {
				values[t] = ""
			}
		}
		key, err := c.keyOf(row)
		if err != nil {
			return err
		}
		split, err := c.splitOf(row, spec.Group)
		if err != nil {
			return err
		}
		return b.add(line, key, split, values)
	})
	if err != nil {
		return nil, err
	}
	return b.finish(), nil
}

func (c columns) keyOf(row []string) (string, error) {
	var key strings.Builder
	for _, p := range c.key {
		if p.column < 0 {
			key.WriteString(p.literal)
			continue
		}
		if row[p.column] == "" {
			return "", errors.New("the key is empty")
		}
		key.WriteString(row[p.column])
	}
	return key.String(), nil
}

func (c columns) splitOf(row []string, g Grouping) (Split, error) {
	switch {
	case c.split >= 0:
		return ParseSplit(row[c.split])
	case c.group >= 0:
		return g.of(row[c.group]), nil
	}
	return Nowhere, nil
}

// table is a CSV file behind its header.
type table struct {
	Text
	header []string
	rows   *csv.Reader
	limit  *rowLimit
}

// openTable reads the header.
func openTable(t Text) (*table, error) {
	text, err := plain(t.Reader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	limit := &rowLimit{r: text}
	tab := &table{Text: t, rows: csv.NewReader(limit), limit: limit}
	tab.rows.ReuseRecord = true
	header, err := tab.row()
	if errors.Is(err, io.EOF) {
		err = errors.New("it is empty, without even a header")
	}
	if err != nil {
		return nil, t.wrong(1, err)
	}
	tab.header = slices.Clone(header)
	for i, name := range tab.header {
		if slices.Contains(tab.header[:i], name) {
			return nil, t.wrong(1, fmt.Errorf("two columns are named %q", name))
		}
	}
	return tab, nil
}

// row reads the next row and trims its fields.
func (t *table) row() ([]string, error) {
	t.limit.left = maxLine
	row, err := t.rows.Read()
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	return row, err
}

// each calls do with every row; the slice is valid during the call.
func (t *table) each(do func(line int, row []string) error) error {
	for {
		row, err := t.row()
		var parse *csv.ParseError
		switch {
		case errors.As(err, &parse):
			return t.wrong(parse.StartLine, parse.Err)
		case err == io.EOF: //nolint:errorlint // a store's error may wrap an io.EOF and is no end
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		line, _ := t.rows.FieldPos(0)
		if err := do(line, row); err != nil {
			return t.wrong(line, err)
		}
	}
}

// rowLimit ends reading when a row takes too many bytes: a quotation mark that is never closed would
// otherwise swallow the rest of the file.
type rowLimit struct {
	r    *bufio.Reader
	left int
}

func (l *rowLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("a row of more than %d bytes: is a quotation mark not closed?", maxLine)
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}
