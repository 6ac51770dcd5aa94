package main

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const catalogue = `[
 {"image":"0023-fe0f-20e3.png","category":"Symbols","subcategory":"keycap","short_name":"hash"},
 {"image":"1f91d.png","category":"People & Body","subcategory":"hands","short_name":"handshake",
  "skin_variations":{"1F3FB":{"image":"1f91d-1f3fb.png"},"1F3FB-1F3FF":{"image":"1faf1-1f3fb-200d-1faf2-1f3ff.png"}}},
 {"image":"1f3fb.png","category":"Component","subcategory":"skin-tone","short_name":"skin-tone-2"}]`

// tarball writes name, content pairs as a gzipped tar.
func tarball(t *testing.T, files ...string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "p.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// The catalogue comes last here: where it lies in the archive must not matter.
func vendorPackage(t *testing.T, vendor string) string {
	img := "package/img/" + vendor + "/64/"
	return tarball(t,
		img+"0023-fe0f-20e3.png", "hash", img+"1f91d.png", "shake", img+"1f91d-1f3fb.png", "light",
		img+"1faf1-1f3fb-200d-1faf2-1f3ff.png", "two", img+"1f3fb.png", "swatch",
		"package/img/"+vendor+"/sheets/1f91d.png", "sheet",
		"package/emoji.json", catalogue)
}

func TestGallery(t *testing.T) {
	out := filepath.Join(t.TempDir(), "demo")
	args := []string{"google=" + vendorPackage(t, "google"), "twitter=" + vendorPackage(t, "twitter")}
	for range 2 { // the second time, it replaces what the first left
		if err := run(out, args); err != nil {
			t.Fatal(err)
		}
	}
	images, err := filepath.Glob(filepath.Join(out, "gallery/*/*.png"))
	if err != nil || len(images) != 8 {
		t.Fatalf("%d images (%v), want 8", len(images), err)
	}
	if data, err := os.ReadFile(filepath.Join(out, "gallery/twitter/1f91d.png")); err != nil || string(data) != "shake" {
		t.Errorf("1f91d.png holds %q, %v", data, err)
	}
	labels, err := os.ReadFile(filepath.Join(out, "labels.csv"))
	if err != nil {
		t.Fatal(err)
	}
	want := `key,vendor,category,subcategory,short_name,skin_tone
google/0023-fe0f-20e3.png,google,Symbols,keycap,hash,
google/1f91d-1f3fb.png,google,People & Body,hands,handshake,light
google/1f91d.png,google,People & Body,hands,handshake,none
google/1faf1-1f3fb-200d-1faf2-1f3ff.png,google,People & Body,hands,handshake,light+dark
`
	if got := string(labels); got != want+strings.ReplaceAll(strings.SplitAfterN(want, "\n", 2)[1], "google", "twitter") {
		t.Errorf("labels:\n%s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(out, ".emoji-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestGalleryRefuses(t *testing.T) {
	cases := map[string]struct{ arg, want string }{
		"no tarball":     {"google", "not vendor=tarball"},
		"a way out":      {"../x=p.tgz", "not vendor=tarball"},
		"no such file":   {"google=absent.tgz", "no such file"},
		"no catalogue":   {"google=" + tarball(t, "package/img/google/64/1f91d.png", "x"), "no package/emoji.json"},
		"missing images": {"google=" + tarball(t, "package/emoji.json", catalogue), "0 images"},
		"unknown tone": {"google=" + tarball(t, "package/emoji.json",
			`[{"short_name":"x","skin_variations":{"1F3FA":{"image":"x.png"}}}]`), "no skin tone"},
		"not JSON": {"google=" + tarball(t, "package/emoji.json", "<html>"), "package/emoji.json"},
		"one image twice": {"google=" + tarball(t, "package/emoji.json", `[{"image":"x.png"}]`,
			"package/img/google/64/x.png", "1", "package/img/google/64/x.png", "2"), "twice"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			err := run(out, []string{c.arg})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if left, _ := os.ReadDir(out); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
