package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/facet-search/facet/pipeline"
)

// Mem is a store in this process's memory, for tests.
type Mem struct {
	name    string
	mu      sync.Mutex
	objects map[string]memObject
}

type memObject struct {
	data []byte
	etag string
}

var mems = struct {
	sync.Mutex
	byName map[string]*Mem
}{byName: map[string]*Mem{}}

// OpenMem returns the process's one store of that name.
func OpenMem(name string) *Mem {
	mems.Lock()
	defer mems.Unlock()
	s := mems.byName[name]
	if s == nil {
		s = &Mem{name: name, objects: map[string]memObject{}}
		mems.byName[name] = s
	}
	return s
}

func (s *Mem) String() string { return "mem://" + s.name }

// List implements Lister.
func (s *Mem) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		s.mu.Lock()
		keys := slices.Sorted(maps.Keys(s.objects))
		s.mu.Unlock()
		for _, k := range keys {
			if err := ctx.Err(); err != nil {
				yield(pipeline.Ref{}, err)
				return
			}
			s.mu.Lock()
			o, ok := s.objects[k]
			s.mu.Unlock()
			if ok && strings.HasPrefix(k, prefix) && !yield(o.ref(k), nil) {
				return
			}
		}
	}
}

func (o memObject) ref(key string) pipeline.Ref {
	return pipeline.Ref{Key: key, ETag: o.etag, Size: int64(len(o.data))}
}

// Open implements Reader.
func (s *Mem) Open(_ context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s/%s: %w", s, key, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(o.data)), o.ref(key), nil
}

// Put implements Writer.
func (s *Mem) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	data, err := io.ReadAll(io.LimitReader(body, size+1))
	if err == nil && int64(len(data)) != size {
		err = fmt.Errorf("the body has %d bytes or more, %d were announced", len(data), size)
	}
	if err == nil {
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.objects[key]
	if err == nil && (cond.absent && ok || cond.etag != "" && old.etag != cond.etag) {
		err = ErrPrecondition
	}
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("write %s/%s: %w", s, key, err)
	}
	sum := md5.Sum(data)
	o := memObject{data: data, etag: hex.EncodeToString(sum[:])}
	s.objects[key] = o
	return o.ref(key), nil
}

// Delete implements Writer.
func (s *Mem) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}
