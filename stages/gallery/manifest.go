package gallery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/facet-search/facet/pipeline"
)

// Spec says how a manifest is to be read.
type Spec struct {
	// Prefix is the address of the gallery's store, such as s3://bucket/images/. Keys are relative to
	// it; full addresses below it are made so.
	Prefix string
	// Key is the column of keys, "key" if empty. S3 Inventory has its own.
	Key string
	// Attributes are the columns that go into Ref.Attributes: if nil, all others of a CSV or a Parquet
	// file, and none of an inventory.
	Attributes []string
	// Scratch is the local folder for the manifest's copy, the system's if empty. The copy has no name,
	// so it goes when the process does.
	Scratch string
}

// Manifest reads the manifest at a key of a store. By its first bytes it is
//   - a CSV file with a header, in UTF-8, possibly in gzip;
//   - a Parquet file, whose columns of other types than text become text; nested ones are left out;
//   - the manifest.json of an S3 Inventory, with data in CSV or Parquet, which knows ETags and sizes.
//     The store must be the whole destination bucket, or have the data where S3 puts it in relation
//     to the manifest. Old versions, deleted objects and those not below the prefix are skipped.
//
// A row that cannot be read is an error that names the file and the line. Keys that come twice are
// not noticed here.
func Manifest(ctx context.Context, objects opener, key string, spec Spec) (Source, error) {
	if spec.Key == "" {
		spec.Key = "key"
	}
	if spec.Prefix != "" && !strings.HasSuffix(spec.Prefix, "/") {
		spec.Prefix += "/"
	}
	f, _, err := spool(ctx, objects, key, spec.Scratch)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", key, withoutEOF(err))
	}
	s, err := open(f, objects, key, spec)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("manifest %s: %w", key, withoutEOF(err))
	}
	return s, nil
}

// open takes the file over if it succeeds.
func open(f *os.File, objects opener, key string, spec Spec) (Source, error) {
	first, err := head(f)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(bytes.TrimPrefix(first, utf8BOM), " \t\r\n"), []byte("{")) {
		return newInventory(f, objects, key, spec)
	}
	m := &manifest{name: key, prefix: spec.Prefix}
	m.rows, err = openTable(f, nil, func(columns []string) ([]int, error) {
		chosen, err := choose(columns, spec)
		for _, c := range chosen {
			m.attributes = append(m.attributes, columns[c])
		}
		return chosen, err
	})
	if err != nil {
		return nil, err
	}
	m.attributes = m.attributes[1:]
	return m, nil
}

// choose returns the columns that make a ref: the key, then the attributes.
func choose(columns []string, spec Spec) ([]int, error) {
	names := append([]string{spec.Key}, spec.Attributes...)
	if spec.Attributes == nil {
		for _, c := range columns {
			if c != spec.Key {
				names = append(names, c)
			}
		}
	}
	var chosen []int
	for _, n := range names {
		i := slices.Index(columns, n)
		if i < 0 {
			return nil, fmt.Errorf("there is no column %q; there are %q", n, columns)
		}
		if slices.Contains(columns[i+1:], n) {
			return nil, fmt.Errorf("there are several columns %q", n)
		}
		chosen = append(chosen, i)
	}
	return chosen, nil
}

// manifest is a Source of a table whose rows are the key and the attributes.
type manifest struct {
	name, prefix string
	rows         table
	attributes   []string
}

// Next implements pipeline.Source.
func (m *manifest) Next(ctx context.Context) (pipeline.Ref, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Ref{}, err
	}
	row, err := m.rows.next()
	if err == io.EOF { //nolint:errorlint // wrapped, it is a failure
		return pipeline.Ref{}, io.EOF
	}
	ref := pipeline.Ref{Size: -1}
	if err == nil {
		ref.Key, err = relative(row[0], m.prefix)
	}
	if err == nil {
		ref.Attributes, err = texts(row[1:], m.attributes)
	}
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("manifest %s, %s: %w", m.name, m.rows.at(), withoutEOF(err))
	}
	return ref, nil
}

// relative makes a key of what a row says.
func relative(key, prefix string) (string, error) {
	if scheme, _, ok := strings.Cut(key, "://"); ok && !strings.ContainsAny(scheme, "/.") {
		below, ok := strings.CutPrefix(key, prefix)
		if !ok || prefix == "" {
			return "", fmt.Errorf("%q is not below the gallery's prefix %q", key, prefix)
		}
		key = below
	}
	if key == "" {
		return "", errors.New("the key is empty")
	}
	if slices.Contains(strings.Split(key, "/"), "..") {
		return "", fmt.Errorf("%q leads out of the gallery", key)
	}
	return key, nil
}

// texts copies a row's attributes, which go into columns of text.
func texts(row, names []string) ([]string, error) {
	for i, v := range row {
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("column %q: %q is not UTF-8", names[i], v)
		}
	}
	return slices.Clone(row), nil
}

func (m *manifest) Attributes() []string { return m.attributes }
func (m *manifest) Skipped() int64       { return 0 }
func (m *manifest) Close() error         { return m.rows.close() }

// withoutEOF hides an io.EOF that an error wraps: a Source's end must be its only one.
func withoutEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", err, io.ErrUnexpectedEOF) //nolint:errorlint // hidden on purpose
	}
	return err
}
