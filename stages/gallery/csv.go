package gallery

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxRecord bounds the bytes of one row: a quotation mark that is never closed would otherwise swallow
// the rest of the file.
const maxRecord = 16 << 20

// csvTable is a CSV file as RFC 4180 has it.
type csvTable struct {
	file   *os.File
	reader *csv.Reader
	limit  *recordLimit
	chosen []int
	row    []string
	line   int // of the last record
}

// newCSV takes the names of the columns from the first line unless they are given.
func newCSV(f *os.File, columns []string, pick chooser) (*csvTable, error) {
	text, err := plain(f)
	if err != nil {
		return nil, err
	}
	t := &csvTable{file: f, limit: &recordLimit{r: text}}
	t.reader = csv.NewReader(t.limit)
	t.reader.ReuseRecord = true
	t.reader.FieldsPerRecord = len(columns) // 0: as many as in the first line
	if columns == nil {
		if columns, err = t.record(); err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
	}
	if t.chosen, err = pick(columns); err != nil {
		return nil, err
	}
	t.row = make([]string, len(t.chosen))
	return t, nil
}

// plain unpacks a file and takes off its byte-order mark.
func plain(f *os.File) (io.Reader, error) {
	text := bufio.NewReader(f)
	if first, _ := text.Peek(2); bytes.Equal(first, gzipMagic) {
		z, err := gzip.NewReader(text)
		if err != nil {
			return nil, err
		}
		text = bufio.NewReader(z)
	}
	first, _ := text.Peek(3) // an error comes again when it is read
	switch {
	case bytes.Equal(first, utf8BOM):
		_, err := text.Discard(len(utf8BOM))
		return text, err
	case bytes.HasPrefix(first, []byte("\xff\xfe")), bytes.HasPrefix(first, []byte("\xfe\xff")):
		return nil, errors.New("it is UTF-16; save it as UTF-8")
	}
	return text, nil
}

func (t *csvTable) record() ([]string, error) {
	t.limit.left = maxRecord
	record, err := t.reader.Read()
	var parse *csv.ParseError
	switch {
	case err == nil:
		t.line, _ = t.reader.FieldPos(0)
	case errors.As(err, &parse):
		t.line, err = parse.StartLine, parse.Err
	}
	return record, err
}

func (t *csvTable) next() ([]string, error) {
	record, err := t.record()
	if err != nil {
		return nil, err
	}
	for i, c := range t.chosen {
		t.row[i] = record[c]
	}
	return t.row, nil
}

func (t *csvTable) at() string { return fmt.Sprintf("line %d", t.line) }

func (t *csvTable) close() error { return t.file.Close() }

// recordLimit ends reading when a record takes too many bytes.
type recordLimit struct {
	r    io.Reader
	left int
}

func (l *recordLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("a row of more than %d bytes: is a quotation mark not closed?", maxRecord)
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}
