// Package gc is the job `facet gc`: it deletes what lies below an output and is of no use any more, and
// nothing else.
package gc

import (
	"context"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// Config says what to collect.
type Config struct {
	Output string
	Keep   int           // ancestors of the current snapshot that stay
	DryRun bool          // look, and delete nothing
	Lease  time.Duration // see the index job
}

// Report is what was found. Deleted objects are counted in a dry run, too.
type Report struct {
	Kept       []string `json:"kept"` // snapshots, the current one first
	Live       int64    `json:"live"` // objects that stay
	Deleted    int64    `json:"deleted"`
	Bytes      int64    `json:"bytes"`      // of the deleted objects, and of unfinished writes where the store says
	Unfinished int64    `json:"unfinished"` // writes that were begun and given up
	DryRun     bool     `json:"dry_run"`
}

// Garbage is an object, or an unfinished write, that is deleted.
type Garbage struct {
	Path       string
	Bytes      int64 // -1 where the store does not say
	Unfinished *store.Unfinished
}

// folders are those below an output that Facet writes. Whatever else lies there is not Facet's.
//
// Snapshots and records go first: what is left when a gc is killed names nothing that is gone.
var folders = []string{sinks.RecordsDir, sinks.SnapshotsDir, "embeddings", "index", "items", "models"}

// written are the names that Facet gives. Others in its folders are somebody else's and stay.
var written = regexp.MustCompile(`^(` + strings.Join([]string{
	`(items|embeddings/[\w-]+)/\d{5,}-[0-9a-f]{16}\.(parquet|arrow)`,
	`index/[\w-]+/[0-9a-f]{16}/(knn\.index|index_infos\.json)`,
	`models/[0-9a-f]{16}\.onnx`,
	sinks.SnapshotsDir + `/[\w-]+/[\w-]+\.(json|parquet)`,
	sinks.RecordsDir + `/[\w-]+\.json`,
}, "|") + `)$`)

// deletes is how many objects are deleted at a time.
const deletes = 8

// Run collects garbage below an output, and calls each with every piece once it is gone. It holds the
// output's lease, so no run is at work meanwhile: all that such a run could want is recorded, and all that
// is half-written was given up.
func Run(ctx context.Context, c Config, each func(Garbage)) (r *Report, err error) {
	objects, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	lease, err := sinks.Take(ctx, objects, c.Lease)
	if err != nil {
		return nil, err
	}
	defer lease.Leave()
	ctx, stop := pipeline.Heartbeat(ctx, lease.Every(), lease.Renew)
	defer stop()
	l, err := find(ctx, objects, c.Keep)
	if err != nil {
		return nil, fmt.Errorf("find out what %s needs: %w", objects, err)
	}
	b := &bin{Report: Report{Kept: l.snapshots, DryRun: c.DryRun}, objects: objects, lease: lease, each: each}
	source := &garbage{bin: b, live: l}
	source.next, source.stop = iter.Pull2(source.all(ctx))
	defer source.stop()
	f := pipeline.NewFlow(ctx)
	pipeline.Into(f, pipeline.Through(f, "delete", pipeline.From(f, source), remover{b}, deletes), b)
	if err := f.Commit(ctx, b); err != nil {
		return nil, sinks.Lost(ctx, err)
	}
	return &b.Report, nil
}

func open(ctx context.Context, c Config) (store.Store, error) {
	switch {
	case c.Output == "":
		return nil, fmt.Errorf("%w: gc wants --output", jobfile.ErrConfig)
	case c.Keep < 0:
		return nil, fmt.Errorf("%w: --keep is %d, want 0 or more", jobfile.ErrConfig, c.Keep)
	case c.Lease < time.Second:
		return nil, fmt.Errorf("%w: --lease is %v, want a second or more", jobfile.ErrConfig, c.Lease)
	}
	objects, err := store.Open(ctx, c.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	for _, err := range objects.List(ctx, "") {
		return objects, err
	}
	return nil, fmt.Errorf("%w below %s: there is nothing at all", sinks.ErrNoSnapshot, objects) // most likely a slip of the pen
}

// garbage yields what is not live. It is a pipeline.Source.
type garbage struct {
	bin  *bin
	live *live
	next func() (Garbage, error, bool)
	stop func()
}

// Next implements pipeline.Source.
func (g *garbage) Next(context.Context) (Garbage, error) {
	v, err, ok := g.next()
	if !ok {
		return v, io.EOF
	}
	return v, err
}

func (g *garbage) all(ctx context.Context) iter.Seq2[Garbage, error] {
	return func(yield func(Garbage, error) bool) {
		for _, folder := range folders {
			for ref, err := range g.bin.objects.List(ctx, folder+"/") {
				if err == nil && !written.MatchString(ref.Key) {
					continue
				}
				if err == nil && g.live.paths[ref.Key] {
					g.bin.Live++
					continue
				}
				if !yield(Garbage{Path: ref.Key, Bytes: ref.Size}, err) || err != nil {
					return
				}
			}
		}
		c, ok := g.bin.objects.(store.Cleaner)
		if !ok {
			return
		}
		for u, err := range c.Unfinished(ctx) {
			if err == nil && !ours(u) {
				continue
			}
			if !yield(Garbage{Path: u.Key, Bytes: u.Bytes, Unfinished: &u}, err) || err != nil {
				return
			}
		}
	}
}

// ours tells whether an unfinished write was to become one of Facet's objects, as far as the store says.
func ours(u store.Unfinished) bool {
	if u.Key == "" {
		return true
	}
	for _, folder := range folders {
		if len(u.Key) > len(folder) && u.Key[:len(folder)+1] == folder+"/" {
			return true
		}
	}
	return false
}

// bin counts what is gone. It is a pipeline.Sink.
type bin struct {
	Report
	objects store.Store
	lease   *sinks.Lease
	each    func(Garbage)
}

// Write implements pipeline.Sink.
func (b *bin) Write(_ context.Context, g Garbage) error {
	b.Bytes += max(g.Bytes, 0)
	if g.Unfinished != nil {
		b.Unfinished++
	} else {
		b.Deleted++
	}
	b.each(g)
	return nil
}

// Commit implements pipeline.Committer.
func (b *bin) Commit(context.Context) error { return nil }

// remover deletes. It is a pipeline.Stage.
type remover struct{ *bin }

// Process implements pipeline.Stage. A process that was stopped for so long that another one has taken its
// place must not delete what that one writes, so it looks at its lease every time.
func (r remover) Process(ctx context.Context, g Garbage) (Garbage, error) {
	if r.DryRun {
		return g, nil
	}
	if err := r.lease.Held(); err != nil {
		return g, err
	}
	if u := g.Unfinished; u != nil {
		return g, r.objects.(store.Cleaner).Discard(ctx, *u)
	}
	return g, r.objects.Delete(ctx, g.Path)
}
