package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// tree is every file below a folder with its content, the store's own scratch left out.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".vgwlocks" { // the server's own
			return fs.SkipDir
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all = append(all, strings.TrimPrefix(path, dir)+" "+string(data))
		return err
	})
	must(t, err)
	return all
}

// Whatever is written, read or deleted under whichever key, nothing changes beside the store, and nothing
// from there is read.
func TestNothingEscapes(t *testing.T) {
	server := storetest.VersityGW(t)
	must(t, server.CreateBucket(t.Context(), "other"))
	file := t.TempDir()
	for name, c := range map[string]struct{ root, address, inside string }{
		"file": {file, filepath.Join(file, "sub/store"), filepath.Join(file, "sub/store")},
		"s3":   {server.Data, "s3://" + server.Bucket + "/sub/store/", filepath.Join(server.Data, server.Bucket, "sub/store")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, secret := range []string{"escape", "sub/escape", "a", "b", "other/escape", "facet/escape", "facet/sub/a", "facet/sub/escape", "sub/a", "etc/passwd"} {
				path := filepath.Join(c.root, secret)
				must(t, os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte("secret"), 0o600))
			}
			before := tree(t, c.root)
			s := open(t, c.address)
			for _, key := range append(slices.Clone(storetest.OddKeys), "../../a", "../a", "../../other/escape", "../../../other/escape", "x/../../../a") {
				if strings.Contains(key, "\x00") || len(key) > 300 { // takes servers and file systems long
					continue
				}
				_ = put(t.Context(), s, key, "data", store.Condition{})
				if data, _, err := store.ReadObject(t.Context(), s, key, nil, 1<<20); err == nil && string(data) != "data" {
					t.Errorf("%q reads %q", key, data)
				}
				_ = s.Delete(t.Context(), key)
			}
			after := slices.DeleteFunc(tree(t, c.root), func(f string) bool { return strings.HasPrefix(f, strings.TrimPrefix(c.inside, c.root)+"/") })
			if !slices.Equal(before, after) {
				t.Errorf("beside the store was %q, is %q", before, after)
			}
		})
	}
}
