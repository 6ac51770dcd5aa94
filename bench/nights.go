package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// nightImages are enough for the fixed cost of a run to be small beside a full night's.
const nightImages = 2000

// nights compares what nights of more and more change cost with what the first one did, in CPU-seconds
// of the command and its children: those do not depend on what else the machine does.
func (b *bench) nights(ctx context.Context) error {
	dir, out := filepath.Join(b.dir, "nights"), filepath.Join(b.dir, "out-nights")
	names, err := copies(b.images, dir, nightImages)
	if err != nil {
		return err
	}
	fmt.Printf("\nnights over %d images of the fashion gallery, in CPU-seconds of the whole command\n", nightImages)
	first, err := b.index(ctx, dir, out, nil)
	if err != nil {
		return err
	}
	fmt.Printf("  %-24s %6.1f s\n", "first", first.cpu)
	changed := 0
	for _, share := range []float64{0, 0.01, 0.1, 1} {
		n := int(share * nightImages)
		for range n {
			if err := alter(filepath.Join(dir, names[changed%len(names)])); err != nil {
				return err
			}
			changed++
		}
		r, err := b.index(ctx, dir, out, nil)
		if err != nil {
			return err
		}
		if int(r.Ledger.Embedded) != n || r.Unchanged != (n == 0) {
			return fmt.Errorf("%d images were changed, %d embedded", n, r.Ledger.Embedded)
		}
		fmt.Printf("  %-24s %6.1f s, ratio to the first %.3f\n", fmt.Sprintf("%.0f %% changed", 100*share), r.cpu, r.cpu/first.cpu)
	}
	return nil
}

// copies copies the first n images of a folder into another, and returns their names.
func copies(from, to string, n int) (names []string, err error) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(to, 0o750); err != nil {
		return nil, err
	}
	for _, e := range entries[:n] {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o640); err != nil {
			return nil, err
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// alter makes a file another content, which decodes to the same picture.
func alter(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x") // behind the end of the image
	if err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
