package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// unpack writes the files of a tar into one folder.
func unpack(name, dir string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", name, h.Name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), data, 0o640); err != nil {
			return err
		}
	}
}

// load reads up to n images of a folder, in the order of their names.
func load(dir string, n int) ([][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	var images [][]byte
	for _, e := range entries[:min(n, len(entries))] {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		images = append(images, data)
	}
	return images, nil
}

// subset links the first n images of a folder into another.
func subset(from, to string, n int) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	for _, e := range entries[:n] {
		if err := os.Link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// mosaic is a 1200×1600 JPEG (width × height) put together from 60×80 photos: real texture at a real
// size, quality 90, 4:2:0.
func mosaic(photos [][]byte) ([]byte, error) {
	const across, down, w, h = 20, 20, 60, 80
	canvas := image.NewRGBA(image.Rect(0, 0, across*w, down*h))
	for i := range across * down {
		m, err := jpeg.Decode(bytes.NewReader(photos[i%len(photos)]))
		if err != nil {
			return nil, err
		}
		at := image.Rect(i%across*w, i/across*h, i%across*w+w, i/across*h+h)
		draw.Draw(canvas, at, m, m.Bounds().Min, draw.Src)
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, canvas, &jpeg.Options{Quality: 90})
	return b.Bytes(), err
}
