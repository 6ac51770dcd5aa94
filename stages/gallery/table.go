package gallery

import (
	"bytes"
	"errors"
	"os"
)

// table is a manifest's rows, whatever its format.
type table interface {
	// next returns the chosen columns of the next row, in the order of the choice, or a bare io.EOF.
	// The slice is valid until the next call, its strings for good.
	next() ([]string, error)
	// at says where the last row stands.
	at() string
	close() error
}

// chooser picks columns by their names.
type chooser func(columns []string) ([]int, error)

var (
	utf8BOM      = []byte("\xef\xbb\xbf")
	gzipMagic    = []byte("\x1f\x8b")
	parquetMagic = []byte("PAR1")
)

// openTable opens a table by the format of its content, and takes the file over if it succeeds. A CSV
// file has its columns' names in its first line unless they are given.
func openTable(f *os.File, columns []string, pick chooser) (table, error) {
	first, err := head(f)
	switch {
	case err != nil:
		return nil, err
	case len(first) == 0 && columns == nil:
		return nil, errors.New("it is empty, without even a header")
	case bytes.HasPrefix(first, parquetMagic):
		return newParquet(f, pick)
	}
	return newCSV(f, columns, pick)
}
