package main

import (
	"bufio"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/facet-search/facet/sinks/store"
)

// overhead measures nights that reuse every vector, on a synthetic listing of 100,000 keys and of ten
// times as many: what Facet itself costs a key, and whether its memory follows the gallery.
func (b *bench) overhead(ctx context.Context) error {
	fmt.Println("\noverhead: nights that embed nothing, on a synthetic S3 Inventory")
	var peaks [2][2]int64
	for i, n := range []int{100_000, 1_000_000} {
		s := synthetic{dir: filepath.Join(b.dir, fmt.Sprint("synthetic-", n)), n: n}
		if err := s.publishElsewhere(ctx); err != nil {
			return fmt.Errorf("synthetic snapshot: %w", err)
		}
		// The synthetic snapshot does not know the job's settings, so the first night publishes.
		for _, night := range []struct {
			what string
			gone int // keys that are missing: one in so many
		}{{"all shards named again", 0}, {"nothing changed", 0}, {"all shards written again", n / 200}} {
			if err := s.list(night.gone); err != nil {
				return err
			}
			r, err := b.job(ctx, []string{"AWS_REGION=us-east-1"}, "-c", filepath.Join(s.dir, "job.yaml"))
			if err != nil {
				return err
			}
			if r.Ledger.Embedded != 0 || r.Ledger.Reused != r.Ledger.Listed || r.Unchanged != (night.what == "nothing changed") {
				return fmt.Errorf("%s: %+v", night.what, r.Ledger)
			}
			compared := float64(n) / (r.Phases["list"] + r.Phases["compare"])
			fmt.Printf("  %9d keys, %-24s %6.0f keys/s as a whole, %6.0f of listing and comparing, %6.0f a CPU-second; peak %4.0f MiB\n",
				n, night.what, r.ImagesPerSecond, compared, float64(n)/r.cpu, mib(r.rss))
			if night.gone > 0 {
				peaks[i][1] = r.rss
			} else {
				peaks[i][0] = r.rss
			}
		}
	}
	fmt.Printf("  peak memory at ten times as many keys: ratio %.2f when nothing changed, %.2f when all is written again\n",
		float64(peaks[1][0])/float64(peaks[0][0]), float64(peaks[1][1])/float64(peaks[0][1]))
	return nil
}

// synthetic is a gallery that exists as a listing only, and a snapshot of it.
type synthetic struct {
	dir string
	n   int
}

func key(i int) string { return fmt.Sprintf("catalogue/%02x/product-%08d.jpg", i%251, i) }

// list writes the inventory without one key in every so many; 0 leaves out none.
func (s synthetic) list(gone int) error {
	name := filepath.Join(s.dir, "data.csv")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := md5.New()
	w := bufio.NewWriter(io.MultiWriter(f, sum))
	for i := range s.n {
		if gone == 0 || i%gone != gone-1 {
			fmt.Fprintf(w, "%q,%q,\"%d\",%q\n", "bench", key(i), 1000+i%9000, etag(i))
		}
	}
	_, at, err := store.Split(name)
	if err = errors.Join(err, w.Flush()); err != nil {
		return err
	}
	doc, err := json.Marshal(map[string]any{
		"sourceBucket": "bench", "version": "2016-11-30", "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size, ETag",
		"files": []any{map[string]any{"key": at, "MD5checksum": hex.EncodeToString(sum.Sum(nil))}},
	})
	job := fmt.Sprintf("gallery: {manifest: %q, prefix: \"s3://bench/\"}\nmodel: %q\noutput: %q\nindex: {default: Flat}\n",
		filepath.Join(s.dir, "manifest.json"), filepath.Join(s.dir, "tiny.onnx"), filepath.Join(s.dir, "out"))
	return errors.Join(err, os.WriteFile(filepath.Join(s.dir, "manifest.json"), doc, 0o600),
		os.WriteFile(filepath.Join(s.dir, "job.yaml"), []byte(job), 0o600))
}

// publishElsewhere publishes in a process of its own: the peak memory that the system reports of a process
// is at least that of the one which started it.
func (s synthetic) publishElsewhere(ctx context.Context) error {
	c := exec.CommandContext(ctx, os.Args[0], "-synthetic", fmt.Sprint(s.n), s.dir)
	c.Stderr = os.Stderr
	return c.Run()
}

func etag(i int) string { return fmt.Sprintf("%032x", i) }
