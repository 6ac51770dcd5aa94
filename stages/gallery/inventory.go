package gallery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/facet-search/facet/pipeline"
)

// maxInventory bounds manifest.json, which holds some 150 bytes a data file.
const maxInventory = 64 << 20

// inventoryJSON is an S3 Inventory's manifest.json, version 2016-11-30.
type inventoryJSON struct {
	SourceBucket string          `json:"sourceBucket"`
	FileFormat   string          `json:"fileFormat"`
	FileSchema   string          `json:"fileSchema"`
	Files        []inventoryFile `json:"files"`
}

type inventoryFile struct {
	Key string `json:"key"` // in the destination bucket
	MD5 string `json:"MD5checksum"`
}

// inventory is a Source of all objects that an S3 Inventory lists below a prefix.
type inventory struct {
	objects opener
	name    string // of manifest.json
	spec    Spec
	below   string   // the prefix within the bucket
	columns []string // of CSV data, plain; Parquet has its own
	encoded bool     // keys are URL-encoded
	files   []inventoryFile
	rows    table // of the file before files; nil between two
	has     map[string]int
	skipped int64
}

func newInventory(f *os.File, objects opener, key string, spec Spec) (*inventory, error) {
	var doc inventoryJSON
	if err := json.NewDecoder(io.LimitReader(f, maxInventory)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("as JSON: %w", err)
	}
	s := &inventory{objects: objects, name: key, spec: spec, files: doc.Files}
	switch strings.ToLower(doc.FileFormat) {
	case "csv":
		s.encoded = true
		s.columns = strings.Split(doc.FileSchema, ",")
		for i, c := range s.columns {
			s.columns[i] = plainName(c)
		}
		if _, err := s.pick(s.columns); err != nil {
			return nil, fmt.Errorf("fileSchema: %w", err)
		}
	case "parquet":
	case "orc":
		return nil, errors.New("the inventory is in ORC, which is not read; configure its output format as Parquet or CSV")
	default:
		return nil, fmt.Errorf("it is JSON, but no S3 Inventory in CSV or Parquet: fileFormat is %q", doc.FileFormat)
	}
	bucket, below, ok := strings.Cut(strings.TrimPrefix(spec.Prefix, "s3://"), "/")
	if !ok || !strings.HasPrefix(spec.Prefix, "s3://") || bucket != doc.SourceBucket {
		return nil, fmt.Errorf("the inventory is of bucket %q, the gallery's prefix is %q; write prefix: s3://%s/", doc.SourceBucket, spec.Prefix, doc.SourceBucket)
	}
	s.below = below
	return s, f.Close()
}

// plainName makes one of the names that CSV and Parquet have for a column: "e_tag" and "ETag".
func plainName(column string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(column), "_", ""))
}

// pick implements chooser.
func (s *inventory) pick(columns []string) ([]int, error) {
	known := map[string]int{}
	for i, c := range columns {
		known[plainName(c)] = i
	}
	var chosen []int
	s.has = map[string]int{}
	for _, name := range append(slices.Clone(s.spec.Attributes), "key", "size", "etag", "islatest", "isdeletemarker") {
		if i, ok := known[plainName(name)]; ok {
			s.has[name] = len(chosen)
			chosen = append(chosen, i)
		} else if name == "key" || len(chosen) < len(s.spec.Attributes) {
			return nil, fmt.Errorf("there is no column %q; there are %q", name, columns)
		}
	}
	return chosen, nil
}

// Next implements pipeline.Source.
func (s *inventory) Next(ctx context.Context) (pipeline.Ref, error) {
	for {
		row, err := s.row(ctx)
		if err == io.EOF { //nolint:errorlint // wrapped, it is a failure
			return pipeline.Ref{}, io.EOF
		}
		var ref pipeline.Ref
		var ok bool
		if err == nil {
			ref, ok, err = s.ref(row)
		}
		switch {
		case err != nil:
			return pipeline.Ref{}, s.failed(err)
		case ok:
			return ref, nil
		}
		s.skipped++
	}
}

// row returns the next row of all data files, or a bare io.EOF after the last.
func (s *inventory) row(ctx context.Context) ([]string, error) {
	for len(s.files) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.rows == nil {
			if err := s.openFile(ctx); err != nil {
				return nil, withoutEOF(err)
			}
		}
		row, err := s.rows.next()
		if err != io.EOF { //nolint:errorlint // wrapped, it is a failure
			return row, withoutEOF(err)
		}
		if err := s.Close(); err != nil {
			return nil, withoutEOF(err)
		}
		s.files = s.files[1:]
	}
	return nil, io.EOF
}

// failed says where it was.
func (s *inventory) failed(err error) error {
	at := ""
	if s.rows != nil {
		at = ", " + s.rows.at()
	}
	return fmt.Errorf("inventory %s: data file %s%s: %w", s.name, s.files[0].Key, at, err)
}

// openFile opens the first of the files that are left, and compares it with its checksum.
func (s *inventory) openFile(ctx context.Context) error {
	key := s.files[0].Key
	f, sum, err := spool(ctx, s.objects, key, s.spec.Scratch)
	if errors.Is(err, fs.ErrNotExist) {
		// S3 writes <inventory>/<date>/manifest.json and <inventory>/data/<file>; they may have moved.
		f, sum, err = spool(ctx, s.objects, path.Join(path.Dir(path.Dir(s.name)), "data", path.Base(key)), s.spec.Scratch)
	}
	if err != nil {
		return err
	}
	if want := s.files[0].MD5; want != "" && !strings.EqualFold(sum, want) {
		f.Close()
		return fmt.Errorf("its MD5 is %s, manifest.json says %s", sum, want)
	}
	rows, err := openTable(f, s.columns, s.pick)
	if err != nil {
		f.Close()
		return err
	}
	s.rows = rows
	return nil
}

// ref makes a ref of a row; false means that it is no candidate.
func (s *inventory) ref(row []string) (pipeline.Ref, bool, error) {
	if s.is(row, "isdeletemarker", "true") || s.is(row, "islatest", "false") {
		return pipeline.Ref{}, false, nil
	}
	full := row[s.has["key"]]
	if s.encoded {
		var err error
		if full, err = url.QueryUnescape(full); err != nil {
			return pipeline.Ref{}, false, fmt.Errorf("key: %w", err)
		}
	}
	ref := pipeline.Ref{Size: -1}
	if i, ok := s.has["etag"]; ok {
		ref.ETag = strings.Trim(row[i], `"`)
	}
	if i, ok := s.has["size"]; ok && row[i] != "" {
		var err error
		if ref.Size, err = strconv.ParseInt(row[i], 10, 64); err != nil || ref.Size < 0 {
			return ref, false, fmt.Errorf("size is %q", row[i])
		}
	}
	var below bool
	ref.Key, below = strings.CutPrefix(full, s.below)
	if !below || ref.Key == "" || isMarker(ref) {
		return ref, false, nil
	}
	if len(s.spec.Attributes) == 0 {
		return ref, true, nil
	}
	var err error
	ref.Attributes, err = texts(row[:len(s.spec.Attributes)], s.spec.Attributes)
	return ref, err == nil, err
}

func (s *inventory) is(row []string, column, value string) bool {
	i, ok := s.has[column]
	return ok && strings.EqualFold(row[i], value)
}

func (s *inventory) Attributes() []string { return s.spec.Attributes }
func (s *inventory) Skipped() int64       { return s.skipped }

// Close implements Source.
func (s *inventory) Close() error {
	if s.rows == nil {
		return nil
	}
	rows := s.rows
	s.rows = nil
	return rows.close()
}
