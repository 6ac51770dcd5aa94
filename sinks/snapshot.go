package sinks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

// Snapshot is a snapshot, opened for reading.
type Snapshot struct {
	*Manifest
	objects store.Store
	sum     string  // SHA-256 of the manifest; "" before it is stored
	pointer Pointer // the one that led here, if one did
}

// Pointer is what led to the snapshot: the zero value where it was opened by its id.
func (s *Snapshot) Pointer() Pointer { return s.pointer }

// Current is the pointer's content that names this snapshot.
func (s *Snapshot) Current() Current {
	return Current{Snapshot: s.Snapshot, ManifestSHA256: s.sum}
}

// NewSnapshot opens a snapshot whose files are stored and whose manifest is not yet.
func NewSnapshot(m *Manifest, objects store.Store) *Snapshot {
	return &Snapshot{Manifest: m, objects: objects}
}

// ErrNoSnapshot means that nothing has been published below an output yet.
var ErrNoSnapshot = errors.New("no snapshot is published")

// ErrDamaged means that a file is not the one that the manifest names.
var ErrDamaged = errors.New("damaged")

// OpenCurrent opens the snapshot that CURRENT points to. It is an ErrDamaged if that is not there, or is
// another than CURRENT says.
func OpenCurrent(ctx context.Context, s store.Store) (*Snapshot, error) {
	p, err := ReadPointer(ctx, s)
	if err != nil {
		return nil, err
	}
	snapshot, err := open(ctx, s, p.Snapshot, p.ManifestSHA256)
	if errors.Is(err, ErrNoSnapshot) {
		return nil, fmt.Errorf("%w: %s names snapshot %q, which is missing", ErrDamaged, CurrentPath, p.Snapshot)
	}
	if err != nil {
		return nil, err
	}
	snapshot.pointer = p
	return snapshot, nil
}

// OpenSnapshot opens a snapshot by its id, whether it was ever published or not. It is an ErrNoSnapshot
// if it isn't there.
func OpenSnapshot(ctx context.Context, s store.Store, id string) (*Snapshot, error) {
	return open(ctx, s, id, "")
}

// open reads a snapshot's manifest, which has the SHA-256 sum unless that is "".
func open(ctx context.Context, s store.Store, id, sum string) (*Snapshot, error) {
	if id == "" || id != path.Base(id) || id == ".." || id == "." {
		return nil, fmt.Errorf("%w: %q is no snapshot's id", ErrNoSnapshot, id)
	}
	data, _, err := readSmall(ctx, s, ManifestPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w under the id %s below %s", ErrNoSnapshot, id, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest of snapshot %s: %w", id, err)
	}
	got := hexDigest(data)
	if sum != "" && got != sum {
		return nil, fmt.Errorf("%w: manifest of snapshot %s has SHA-256 %s, CURRENT says %s", ErrDamaged, id, got, sum)
	}
	m, err := DecodeManifest(data)
	if errors.Is(err, ErrNewer) {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: snapshot %s: %w", ErrDamaged, id, err)
	}
	if m.Snapshot != id {
		return nil, fmt.Errorf("%w: the manifest in the place of snapshot %s is that of %q", ErrDamaged, id, m.Snapshot)
	}
	return &Snapshot{Manifest: m, objects: s, sum: got}, nil
}

// maxSmall bounds what is read without knowing its size before.
const maxSmall = 1 << 30

// readSmall reads a whole object that is expected to fit into memory.
func readSmall(ctx context.Context, s store.Store, key string) ([]byte, string, error) {
	data, ref, err := store.ReadObject(ctx, s, key, nil, maxSmall)
	return data, ref.ETag, err
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ReadFile reads a file of the snapshot and compares it with the manifest: an ErrDamaged says what
// differs. Shards are of bounded size, so a file fits into memory; an index may not, see Download.
func (s *Snapshot) ReadFile(ctx context.Context, f File) ([]byte, error) {
	return readFile(ctx, s.objects, f)
}

func readFile(ctx context.Context, objects store.Store, f File) ([]byte, error) {
	// With some room, so that a store that lies about a length is asked again.
	const room = 1 << 20
	data, _, err := store.ReadObject(ctx, objects, f.Path, nil, f.Bytes+room)
	if errors.Is(err, store.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, f.Path, err)
	}
	if err != nil {
		return nil, unread(f, err)
	}
	return data, f.matches(int64(len(data)), hexDigest(data))
}

// Download copies a file of the snapshot to a local path and compares it with the manifest.
func (s *Snapshot) Download(ctx context.Context, f File, path string) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("download %s: %w", f.Path, err)
	}
	if err := errors.Join(copyFile(ctx, s.objects, f, w), w.Close()); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

func copyFile(ctx context.Context, objects store.Store, f File, w *os.File) error {
	sum := sha256.New()
	var n int64
	err := store.Reread(ctx, objects, f.Path, func(r io.Reader, _ pipeline.Ref) (err error) {
		sum.Reset()
		if _, err = w.Seek(0, io.SeekStart); err == nil {
			n, err = io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, f.Bytes+1))
		}
		return err
	})
	if err != nil {
		return unread(f, err)
	}
	return errors.Join(f.matches(n, hex.EncodeToString(sum.Sum(nil))), w.Truncate(n))
}

// unread says whether a file that could not be read is missing.
func unread(f File, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, f.Path)
	}
	return err
}

// matches compares what was read with the manifest.
func (f File) matches(n int64, sum string) error {
	if n != f.Bytes || sum != f.SHA256 {
		return fmt.Errorf("%w: %s has %d bytes and SHA-256 %s, the manifest says %d and %s", ErrDamaged, f.Path, n, sum, f.Bytes, f.SHA256)
	}
	return nil
}

func put(ctx context.Context, s store.Store, key string, data []byte, cond store.Condition) (string, error) {
	ref, err := s.Put(ctx, key, bytes.NewReader(data), int64(len(data)), cond)
	return ref.ETag, err
}

// StoreModel keeps a copy of the model below the output, named by its content, so that a snapshot
// can embed queries by itself.
func StoreModel(ctx context.Context, s store.Store, model []byte) (File, error) {
	sum := hexDigest(model)
	f := File{Path: "models/" + sum[:16] + ".onnx", Kind: Model, Bytes: int64(len(model)), SHA256: sum}
	if _, err := put(ctx, s, f.Path, model, store.Condition{}); err != nil {
		return f, fmt.Errorf("store %s: %w", f.Path, err)
	}
	return f, nil
}
