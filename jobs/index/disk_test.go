package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/sinks"
)

// disk is a small file system of its own.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T, bytes int) disk {
	t.Helper()
	d := disk{t, t.TempDir()}
	err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("to mount a small disk takes root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d disk) grow(bytes int) {
	d.t.Helper()
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)); err != nil {
		d.t.Fatal(err)
	}
}

// full runs a job that must stop because a disk is full.
func full(t *testing.T, c Config) {
	t.Helper()
	if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v", err)
	}
	checkScratch(t, c)
	if _, err := os.Stat(filepath.Join(c.Output, sinks.CurrentPath)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v, want it absent", sinks.CurrentPath, err)
	}
}

// A full disk, under the output or the scratch folder, stops the run cleanly; with room again, the next
// one goes on from the last finished shard and ends in the same bytes.
func TestDiskFull(t *testing.T) {
	c := night(t, testenv.Fashion(t, 120), t.TempDir())
	c.ShardSize, c.Tasks = 10, []string{"gender", "usage"}
	whole := c
	whole.Output = t.TempDir()
	run(t, whole)
	want := content(t, current(t, whole.Output))

	out, scratch := newDisk(t, 100<<10), newDisk(t, 4<<10)
	c.Output = out.dir
	small := c
	small.Scratch = scratch.dir
	full(t, small)
	scratch.grow(64 << 20)
	full(t, small)
	done := len(records(t, c.Output))
	if done == 0 {
		t.Error("no shard was finished on the small disk")
	}
	out.grow(4 << 20) // enough for the shards, not for the model
	full(t, small)
	if now := len(records(t, c.Output)); now <= done {
		t.Errorf("%d pieces of work are finished, %d were before", now, done)
	}
	out.grow(64 << 20)
	run(t, small)
	if d := testenv.Difference(content(t, current(t, c.Output)), want); d != "" {
		t.Errorf("the manifest after three full disks: %s", d)
	}
	if _, err := os.Stat(c.Output + "/work"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the records: %v", err)
	}
}
