package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Bounds on what one file of a package may hold; both are many times what they do hold.
const (
	maxImage = 1 << 20
	maxJSON  = 16 << 20
)

// unpack writes the labelled images of a package into dir and returns their labels. The package must
// hold every image that its emoji.json names.
func unpack(tarball, vendor, dir string) ([]label, error) {
	var labels map[string]label
	err := eachFile(tarball, func(name string, r io.Reader) (err error) {
		if name == "package/emoji.json" {
			labels, err = readLabels(io.LimitReader(r, maxJSON), vendor)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if labels == nil {
		return nil, errors.New("no package/emoji.json")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var rows []label
	folder := "package/img/" + vendor + "/64"
	err = eachFile(tarball, func(name string, r io.Reader) error {
		l, ok := labels[path.Base(name)]
		if path.Dir(name) != folder || !ok {
			return nil
		}
		rows = append(rows, l)
		return writeImage(filepath.Join(dir, path.Base(name)), r)
	})
	if err != nil {
		return nil, err
	}
	if len(rows) != len(labels) {
		return nil, fmt.Errorf("%d images in %s, but %d in emoji.json", len(rows), folder, len(labels))
	}
	return rows, nil
}

// eachFile calls do with every regular file of a gzipped tar.
func eachFile(tarball string, do func(name string, r io.Reader) error) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := do(h.Name, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func writeImage(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxImage+1))
	if err != nil {
		return err
	}
	if len(data) > maxImage {
		return fmt.Errorf("over %d bytes", maxImage)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return errors.New("twice in the package")
	}
	return os.WriteFile(name, data, 0o644)
}
