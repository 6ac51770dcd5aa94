package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

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
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, e := range entries {
		g.Go(func() error {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			_, err = s.Put(ctx, e.Name(), bytes.NewReader(data), int64(len(data)), store.Condition{})
			return err
		})
	}
	return g.Wait()
}

// lastRun reads the seconds from the peer's closing line.
func lastRun(text []byte) (float64, error) {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var r struct{ Seconds float64 }
	err := json.Unmarshal(lines[len(lines)-1], &r)
	return r.Seconds, err
}
