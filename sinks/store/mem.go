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
	space  *space
	name   string
	prefix string // "" or ending in a slash
}

// space is what all stores of one name share.
type space struct {
	mu      sync.Mutex
	objects map[string]memObject
}

type memObject struct {
	data []byte
	etag string
}

var spaces = struct {
	sync.Mutex
	byName map[string]*space
}{byName: map[string]*space{}}

// OpenMem opens the store at name/prefix. The process has one store of each name.
func OpenMem(address string) (*Mem, error) {
	name, prefix, _ := strings.Cut(address, "/")
	if name == "" {
		return nil, fmt.Errorf("%w: mem://%s has no name; write mem://name", ErrAddress, address)
	}
	spaces.Lock()
	defer spaces.Unlock()
	s := spaces.byName[name]
	if s == nil {
		s = &space{objects: map[string]memObject{}}
		spaces.byName[name] = s
	}
	return &Mem{space: s, name: name, prefix: asFolder(prefix)}, nil
}

// asFolder ends a prefix in a slash, unless it is empty.
func asFolder(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return prefix
	}
	return prefix + "/"
}

func (s *Mem) String() string { return "mem://" + s.name + "/" + s.prefix }

// List implements Lister.
func (s *Mem) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		s.space.mu.Lock()
		keys := slices.Sorted(maps.Keys(s.space.objects))
		s.space.mu.Unlock()
		for _, full := range keys {
			if err := ctx.Err(); err != nil {
				yield(pipeline.Ref{}, err)
				return
			}
			key, below := strings.CutPrefix(full, s.prefix)
			if !below || key == "" || !strings.HasPrefix(key, prefix) {
				continue
			}
			if o, ok := s.get(key); ok && !yield(o.ref(key), nil) {
				return
			}
		}
	}
}

func (s *Mem) get(key string) (memObject, bool) {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	o, ok := s.space.objects[s.prefix+key]
	return o, ok
}

func (o memObject) ref(key string) pipeline.Ref {
	return pipeline.Ref{Key: key, ETag: o.etag, Size: int64(len(o.data))}
}

// Open implements Reader.
func (s *Mem) Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	o, ok := s.get(key)
	if !ok {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s: %w", at(s, key), fs.ErrNotExist)
	}
	return io.NopCloser(untilDone{ctx, bytes.NewReader(o.data)}), o.ref(key), nil
}

// OpenRange implements Reader.
func (s *Mem) OpenRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, pipeline.Ref, error) {
	body, ref, err := s.Open(ctx, key)
	if err == nil {
		err = checkRange(ref, off, n)
	}
	if err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("range of %s: %w", at(s, key), err)
	}
	_, err = io.CopyN(io.Discard, body, off)
	return io.NopCloser(io.LimitReader(body, n)), ref, err
}

// checkRange refuses a range of which an object has no byte.
func checkRange(ref pipeline.Ref, off, n int64) error {
	switch {
	case off < 0 || n <= 0:
		return fmt.Errorf("%d bytes from %d: %w", n, off, fs.ErrInvalid)
	case off >= ref.Size:
		return fmt.Errorf("%w: %d bytes, asked for those from %d", ErrRange, ref.Size, off)
	}
	return nil
}

// Put implements Writer.
func (s *Mem) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	ref, err := s.put(ctx, key, body, size, cond)
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("write %s: %w", at(s, key), err)
	}
	return ref, nil
}

func (s *Mem) put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	if key == "" {
		return pipeline.Ref{}, fmt.Errorf("an empty key: %w", fs.ErrInvalid)
	}
	if err := checkSize(body, size); err != nil {
		return pipeline.Ref{}, err
	}
	data, err := io.ReadAll(untilDone{ctx, body})
	if err != nil {
		return pipeline.Ref{}, err
	}
	sum := md5.Sum(data)
	o := memObject{data: data, etag: hex.EncodeToString(sum[:])}
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	old, ok := s.space.objects[s.prefix+key]
	if !cond.holds(ok, old.etag) {
		return pipeline.Ref{}, ErrPrecondition
	}
	s.space.objects[s.prefix+key] = o
	return o.ref(key), nil
}

// Delete implements Writer.
func (s *Mem) Delete(_ context.Context, key string) error {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	delete(s.space.objects, s.prefix+key)
	return nil
}

// untilDone reads until the context ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
