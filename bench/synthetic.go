package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
)

// tinyDim is the length of the tiny model's vectors: the mean of each channel.
const tinyDim = 3

// tinyModel is a network that hardly computes anything.
func tinyModel() ([]byte, error) {
	g := &onnx.GraphProto{
		Name: new("tiny"), Input: []*onnx.ValueInfoProto{onnx.NewImages("images", 3, 8, 8)},
		Output: []*onnx.ValueInfoProto{onnx.NewImages("embedding_mean", tinyDim)},
		Node: []*onnx.NodeProto{
			onnx.NewNode("GlobalAveragePool", []string{"images"}, []string{"pooled"}),
			onnx.NewNode("Flatten", []string{"pooled"}, []string{"embedding_mean"}),
		},
	}
	m := onnx.NewModel(13, g)
	tasks := []pipeline.Task{{Name: "mean", Output: "embedding_mean", Dim: tinyDim, Metric: pipeline.L2}}
	err := modulation.SetMetadata(m, tasks, pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{8, 8}, Filter: "bilinear", Std: [3]float64{1, 1, 1}, Scale: 1. / 255, Channels: "rgb",
		Orientation: "ignore", Background: [3]uint8{255, 255, 255},
	})
	if err != nil {
		return nil, err
	}
	return onnx.Write(m)
}

// keys yields the refs of a synthetic gallery.
type keys struct{ i, n int }

func (k *keys) Next(context.Context) (pipeline.Ref, error) {
	if k.i == k.n {
		return pipeline.Ref{}, io.EOF
	}
	i := k.i
	k.i++
	return pipeline.Ref{Key: key(i), ETag: etag(i), Size: int64(1000 + i%9000)}, nil
}

// embedded gives every item of a shard a content and a vector.
type embedded struct{}

func (embedded) Process(_ context.Context, d *stages.ShardDelta) (*pipeline.Embeddings, error) {
	r := rand.New(rand.NewPCG(1, uint64(d.Number)))
	e := &pipeline.Embeddings{Items: d.Items, Vectors: [][]float32{make([]float32, tinyDim*len(d.Items))}}
	for i := range e.Vectors[0] {
		e.Vectors[0][i] = r.Float32()
	}
	for _, it := range d.Items {
		it.ContentHash, it.Width, it.Height = sha256.Sum256([]byte(it.Key)), 60, 80
	}
	return e, nil
}

// publish writes the snapshot that a first night would have.
func (s synthetic) publish(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return err
	}
	file, err := tinyModel()
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "tiny.onnx"), file, 0o600)
	}
	if err != nil {
		return err
	}
	model, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		return err
	}
	out, err := store.Open(ctx, filepath.Join(s.dir, "out"))
	if err != nil {
		return err
	}
	m := manifest(model)
	if err := s.shards(ctx, m, model.Tasks, out); err != nil {
		return err
	}
	builder := sinks.IndexBuilder{Objects: out, Dir: s.dir, Queries: 100, Threads: 1}
	t := m.Tasks[0]
	built, err := builder.Process(ctx, sinks.IndexJob{Task: t.Task, Digest: t.Digest, Factory: "Flat", Files: m.Select(sinks.Embedding, t.Name)})
	if err != nil {
		return err
	}
	if err := (sinks.Indexed{Manifest: m}).Write(ctx, built); err != nil {
		return err
	}
	current, err := sinks.WriteManifest(ctx, out, m)
	if err != nil {
		return err
	}
	_, err = sinks.Pointer{}.Move(ctx, out, current)
	return err
}

func manifest(model *modulation.Model) *sinks.Manifest {
	m := &sinks.Manifest{
		Format: sinks.FormatVersion, Snapshot: "synthetic", Created: time.Now().UTC(), Facet: "bench",
		Model: sinks.ModelState{
			SHA256: model.Digests.File.String(), Preprocess: model.Preprocess, PreprocessDigest: model.Digests.Preprocess.String(), Engine: "onnxruntime",
		},
	}
	for i, t := range model.Tasks {
		m.Tasks = append(m.Tasks, sinks.TaskState{Task: t, Digest: model.Digests.Tasks[i].String()})
	}
	return m
}

// shards writes items and embeddings.
func (s synthetic) shards(ctx context.Context, m *sinks.Manifest, tasks []pipeline.Task, out store.Store) error {
	listing, err := stages.List(ctx, &keys{n: s.n}, filepath.Join(s.dir, "spool"), nil)
	if err != nil {
		return err
	}
	defer listing.Close()
	const shardSize = 16384
	count := listing.Shards(shardSize)
	m.Shards = sinks.ShardState{Count: count, Hash: "xxh64", NextSequence: make([]int64, count)}
	m.Ledger = sinks.Ledger{Listed: int64(s.n), New: int64(s.n)}
	for i := range m.Shards.NextSequence {
		m.Shards.NextSequence[i] = shardSize
	}
	gather, err := sinks.NewShards(s.dir, tasks, nil, false)
	if err != nil {
		return err
	}
	defer gather.Close()
	collect := sinks.NewCollect(out, s.dir, m, 0)
	f := pipeline.NewFlow(ctx)
	deltas := pipeline.Through(f, "number", pipeline.From(f, stages.NewPlan(listing, count)), stages.Compare{}, 1)
	done := pipeline.Gather(f, "write", pipeline.Through(f, "embed", deltas, embedded{}, 1), gather)
	upload := sinks.Upload{Objects: out, Name: func(int) string { return "" }}
	pipeline.Into(f, pipeline.Through(f, "store", done, upload, 1), collect)
	return errors.Join(f.Commit(ctx, collect))
}
