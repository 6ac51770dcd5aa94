package index

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// hostileNames look like something else, steer terminals, or are as long as a file's name may be.
var hostileNames = []string{
	"..jpg", "...", "..\\..\\windows.jpg", "a b.jpg", " .jpg", "$(reboot).jpg", "';DROP TABLE items;--.jpg", "%2e%2e%2fetc.jpg", "{a}.jpg", "*.jpg",
	"line\nbreak.jpg", "tab\t.jpg", "bell\a.jpg", "esc\x1b[2J.jpg", "é.jpg", "e\u0301.jpg", "\u202egpj.exe", "Ａ.jpg", "A.jpg", "😀.jpg",
	"\"quoted\".jpg", strings.Repeat("x", 251) + ".jpg", "CURRENT", "LEASE", "manifest.json", "00000-0123456789abcdef.parquet",
}

// longKey is a key of 1,024 bytes.
func longKey() string { return strings.Repeat(strings.Repeat("d", 203)+"/", 5) + "key!" }

// Keys are opaque: whatever they look like, each image is indexed under its own and nothing is written
// anywhere else; what is no valid text is in quarantine, and comes out the same the next night.
func TestHostileKeysInAFolder(t *testing.T) {
	good := firstPhoto(t)
	parent := t.TempDir()
	dir := filepath.Join(parent, "gallery")
	names := append([]string{longKey()}, hostileNames...)
	for _, name := range append(names, "bad\xff\xfe.jpg") {
		path := dir + "/" + name // not cleaned
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, good, 0o600)); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	c := night(t, dir, filepath.Join(parent, "out"))
	c.Limits.Reject = 0.1
	checkHostile(t, c, names, 1)
	if left, err := os.ReadDir(parent); err != nil || len(left) != 2 {
		t.Errorf("beside the gallery and the output there are %v, %v", left, err)
	}
}

// A manifest that names what is not of the gallery is refused, or it is simply not there.
func TestHostileKeysInAManifest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gallery")
	good := firstPhoto(t)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(dir+"/good.jpg", good, 0o600), os.WriteFile(dir+"/../outside.jpg", good, 0o600)); err != nil {
		t.Fatal(err)
	}
	c := night(t, dir, t.TempDir())
	c.Limits.Reject = 1
	list := func(keys ...string) {
		c.Gallery.Manifest = filepath.Join(t.TempDir(), "list.csv")
		text := "key\n\"" + strings.Join(keys, "\"\n\"") + "\"\n"
		if err := os.WriteFile(c.Gallery.Manifest, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"../outside.jpg", "x/../good.jpg", "..", ""} {
		list("good.jpg", key)
		if _, err := Run(t.Context(), c, progress.Discard()); err == nil {
			t.Errorf("the key %q is taken", key)
		}
		checkNothing(t, c)
	}
	keys := []string{"/etc/passwd", "./good.jpg", "x/./good.jpg", "x//good.jpg", ".", "..jpg", longKey()}
	list(append(keys, "good.jpg")...)
	r := run(t, c)
	if l := r.Ledger; l.Embedded != 1 || l.Reasons[pipeline.Gone] != int64(len(keys)) {
		t.Errorf("one key is of the gallery: %+v", l)
	}
	if _, ok := rows(t, current(t, c.Output))["good.jpg"]; !ok {
		t.Error("good.jpg is not among the items")
	}
}

// A server that keeps objects as files takes fewer of them; those it takes come through.
func TestHostileKeysInABucket(t *testing.T) {
	storetest.VersityGW(t)
	images, err := store.Open(t.Context(), "s3://facet/images/")
	if err != nil {
		t.Fatal(err)
	}
	good := string(firstPhoto(t))
	var names []string
	for _, name := range append([]string{longKey()[:900]}, hostileNames...) {
		if _, err := images.Put(t.Context(), name, strings.NewReader(good), int64(len(good)), store.Condition{}); err != nil {
			continue // the store refuses it, so it cannot be listed
		}
		names = append(names, name)
	}
	if len(names) < 15 {
		t.Fatalf("the server took only %q", names)
	}
	c := night(t, "s3://facet/images/", "s3://facet/index/")
	checkHostile(t, c, names, 0)
}

// checkHostile runs two nights on images of those names and of some that are no text.
func checkHostile(t *testing.T, c Config, names []string, bad int64) {
	t.Helper()
	r := run(t, c)
	if l := r.Ledger; l.Embedded != int64(len(names)) || l.Quarantined != bad || l.Reasons[pipeline.Unsupported] != bad {
		t.Errorf("ledger %+v, want %d embedded and %d not supported", l, len(names), bad)
	}
	s := current(t, c.Output)
	got := rows(t, s)
	for _, name := range names {
		if _, ok := got[name]; !ok {
			t.Errorf("%q is not among the items", name)
		}
	}
	for _, f := range s.Files {
		if strings.Contains(f.Path, "..") {
			t.Errorf("the snapshot names %q", f.Path)
		}
	}
	checkUnchanged(t, c, s)
}

func firstPhoto(t *testing.T) (data []byte) {
	t.Helper()
	testenv.FashionEach(t, 1, func(_ string, b []byte) { data = b })
	return data
}

// Nothing that a run writes, published or scratch, is open to others, whatever the umask; nothing secret
// is in it.
func TestFilesAreNotOpenToOthers(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	const secret = "AKIAVERYSECRETKEY"
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	parent := t.TempDir()
	c := night(t, testenv.Fashion(t, 30), filepath.Join(parent, "out"))
	c.Scratch = filepath.Join(parent, "scratch")
	if err := os.Mkdir(c.Scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Format = "arrow"
	look := func() {
		err := filepath.WalkDir(parent, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it is gone already
			}
			st, err := d.Info()
			if err == nil && path != parent && st.Mode().Perm()&0o027 != 0 {
				t.Errorf("%s has mode %v", path, st.Mode())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	_, err := Run(t.Context(), c, progress.Every(func(int64) { look() }))
	if err != nil {
		t.Fatal(err)
	}
	look()
	manifest, err := os.ReadFile(filepath.Join(c.Output, sinks.ManifestPath(current(t, c.Output).Snapshot)))
	if err != nil || strings.Contains(string(manifest), secret) {
		t.Errorf("the manifest holds a secret: %v", err)
	}
}
