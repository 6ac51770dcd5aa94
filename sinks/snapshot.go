package sinks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/facet-search/facet/sinks/store"
)

// CurrentPath is the pointer: the one object that changes.
const CurrentPath = "CURRENT"

// Current is the content of the pointer.
type Current struct {
	Snapshot       string `json:"snapshot"`
	ManifestSHA256 string `json:"manifest_sha256"`
}

// Snapshot is a published snapshot, opened for reading.
type Snapshot struct {
	*Manifest
	objects store.Store
	etag    string // of the pointer that led here
}

// ErrNoSnapshot means that nothing has been published below an output yet.
var ErrNoSnapshot = errors.New("no snapshot is published")

// ErrDamaged means that a file is not the one that the manifest names.
var ErrDamaged = errors.New("damaged")

// OpenCurrent opens the snapshot that CURRENT points to.
func OpenCurrent(ctx context.Context, s store.Store) (*Snapshot, error) {
	data, etag, err := readSmall(ctx, s, CurrentPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w below %s", ErrNoSnapshot, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", CurrentPath, err)
	}
	var c Current
	if err := json.Unmarshal(data, &c); err != nil || c.Snapshot == "" {
		return nil, fmt.Errorf("%w: %s is no pointer to a snapshot: %q", ErrDamaged, CurrentPath, data)
	}
	m, sum, err := readManifest(ctx, s, c.Snapshot)
	if err != nil {
		return nil, err
	}
	if sum != c.ManifestSHA256 {
		return nil, fmt.Errorf("%w: manifest of snapshot %s has SHA-256 %s, CURRENT says %s", ErrDamaged, c.Snapshot, sum, c.ManifestSHA256)
	}
	return &Snapshot{Manifest: m, objects: s, etag: etag}, nil
}

func readManifest(ctx context.Context, s store.Store, id string) (*Manifest, string, error) {
	data, _, err := readSmall(ctx, s, ManifestPath(id))
	if err != nil {
		return nil, "", fmt.Errorf("read manifest of snapshot %s: %w", id, err)
	}
	m, err := DecodeManifest(data)
	if err != nil {
		return nil, "", fmt.Errorf("snapshot %s: %w", id, err)
	}
	return m, hexDigest(data), nil
}

// readSmall reads a whole object that is expected to fit into memory.
func readSmall(ctx context.Context, s store.Store, key string) ([]byte, string, error) {
	r, ref, err := s.Open(ctx, key)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
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
	var b bytes.Buffer
	b.Grow(int(min(f.Bytes, 1<<30)))
	if err := copyFile(ctx, objects, f, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
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

func copyFile(ctx context.Context, objects store.Store, f File, w io.Writer) error {
	r, _, err := objects.Open(ctx, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, f.Path)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	defer r.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, f.Bytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != f.Bytes || got != f.SHA256 {
		return fmt.Errorf("%w: %s has %d bytes and SHA-256 %s, the manifest says %d and %s", ErrDamaged, f.Path, n, got, f.Bytes, f.SHA256)
	}
	return nil
}

// Publish makes the manifest's snapshot the current one: the manifest is written first, then the
// pointer, on the condition that it is still what it was when previous was opened (nil: that there
// was none). An unbalanced ledger is never published. On a store.ErrPrecondition another run won.
func Publish(ctx context.Context, s store.Store, m *Manifest, previous *Snapshot) error {
	if err := m.Ledger.Balance(); err != nil {
		return fmt.Errorf("snapshot %s: %w", m.Snapshot, err)
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if _, err := put(ctx, s, ManifestPath(m.Snapshot), data, store.IfAbsent()); err != nil {
		return fmt.Errorf("write manifest of snapshot %s: %w", m.Snapshot, err)
	}
	pointer, err := json.Marshal(Current{Snapshot: m.Snapshot, ManifestSHA256: hexDigest(data)})
	if err != nil {
		return fmt.Errorf("encode pointer: %w", err)
	}
	cond := store.IfAbsent()
	if previous != nil {
		cond = store.IfMatch(previous.etag)
	}
	if _, err := put(ctx, s, CurrentPath, append(pointer, '\n'), cond); err != nil {
		return fmt.Errorf("move %s to snapshot %s: %w", CurrentPath, m.Snapshot, err)
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
