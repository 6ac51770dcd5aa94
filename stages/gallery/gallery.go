// Package gallery reads what a job names as its gallery: all objects below a prefix, or those that a
// manifest lists.
package gallery

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"

	"github.com/facet-search/facet/pipeline"
)

// Source yields a gallery's refs, in no particular order; a key may come twice.
type Source interface {
	pipeline.Source[pipeline.Ref]
	// Attributes names the refs' further columns.
	Attributes() []string
	// Skipped is how many entries were passed over as no candidates: folder markers, excluded names,
	// deleted or old versions.
	Skipped() int64
	Close() error
}

// lister is the part of an object store that a prefix needs.
type lister interface {
	List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error]
}

// prefix is all objects of a store.
type prefix struct {
	next             func() (pipeline.Ref, error, bool)
	stop             func()
	include, exclude []string
	skipped          int64
}

// Prefix lists the objects of a store that match a pattern of include (none: all do) and none of
// exclude. A pattern is path.Match's; one without a slash is matched against the last part of a key.
// Objects of no bytes whose key ends in a slash are folder markers and no candidates.
func Prefix(ctx context.Context, objects lister, include, exclude []string) (Source, error) {
	for _, p := range append(append([]string{}, include...), exclude...) {
		if _, err := path.Match(p, "x"); err != nil {
			return nil, fmt.Errorf("pattern %q: %w; patterns are as of a shell: *, ?, [a-z]", p, err)
		}
	}
	s := &prefix{include: include, exclude: exclude}
	s.next, s.stop = iter.Pull2(objects.List(ctx, ""))
	return s, nil
}

// Next implements pipeline.Source.
func (s *prefix) Next(ctx context.Context) (pipeline.Ref, error) {
	for {
		if err := ctx.Err(); err != nil {
			return pipeline.Ref{}, err
		}
		r, err, ok := s.next()
		switch {
		case !ok:
			return r, io.EOF
		case err != nil:
			return r, withoutEOF(err)
		case s.candidate(r):
			return r, nil
		}
		s.skipped++
	}
}

func (s *prefix) candidate(r pipeline.Ref) bool {
	if isMarker(r) || matches(s.exclude, r.Key) {
		return false
	}
	return len(s.include) == 0 || matches(s.include, r.Key)
}

// isMarker tells whether an object stands for a folder: it has no bytes, and its key ends in a slash.
func isMarker(r pipeline.Ref) bool { return r.Size == 0 && strings.HasSuffix(r.Key, "/") }

func matches(patterns []string, key string) bool {
	for _, p := range patterns {
		name := key
		if !strings.Contains(p, "/") {
			name = path.Base(key)
		}
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

func (s *prefix) Attributes() []string { return nil }
func (s *prefix) Skipped() int64       { return s.skipped }
func (s *prefix) Close() error         { s.stop(); return nil }
