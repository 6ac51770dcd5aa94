package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

// upload puts a folder's images below s3://bucket/images/ of the server that the environment names.
func upload(ctx context.Context, bucket string, env []string, dir string) error {
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	s, err := store.Open(ctx, "s3://"+bucket+"/images/")
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	f := pipeline.NewFlow(ctx)
	put := putter{dir: dir, to: s}
	pipeline.Into(f, pipeline.Through(f, "put", pipeline.From(f, pipeline.Slice(entries)), put, 16), pipeline.Sink[int](none{}))
	return f.Wait()
}

// putter stores files of a folder.
type putter struct {
	dir string
	to  store.Store
}

func (p putter) Process(ctx context.Context, e os.DirEntry) (int, error) {
	data, err := os.ReadFile(filepath.Join(p.dir, e.Name()))
	if err != nil {
		return 0, err
	}
	_, err = p.to.Put(ctx, e.Name(), bytes.NewReader(data), int64(len(data)), store.Condition{})
	return len(data), err
}

// none is where values end that nobody wants.
type none struct{}

func (none) Write(context.Context, int) error { return nil }
func (none) Commit(context.Context) error     { return nil }

// lastRun reads the seconds from the peer's closing line.
func lastRun(text []byte) (float64, error) {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var r struct{ Seconds float64 }
	err := json.Unmarshal(lines[len(lines)-1], &r)
	return r.Seconds, err
}
