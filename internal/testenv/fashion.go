package testenv

import (
	"archive/tar"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"
)

// Fashion unpacks the first n images of the fashion gallery into a new folder.
func Fashion(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	FashionEach(t, n, func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	return dir
}

// FashionEach calls do with the first n images of the fashion gallery.
func FashionEach(t testing.TB, n int, do func(name string, data []byte)) {
	t.Helper()
	f, err := os.Open(Shared(t, "gallery/fashion/images.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for n > 0 {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("fashion gallery: %v", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("fashion gallery: %v", err)
		}
		do(path.Base(h.Name), data)
		n--
	}
}
