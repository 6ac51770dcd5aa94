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
	"os"
	"path"

	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

func (b IndexBuilder) build(ctx context.Context, job IndexJob, factory, why string) (*BuiltIndex, error) {
	n := int(vectorCount(job.Files))
	spec, split, err := b.plan(job, factory, n)
	if err != nil {
		return nil, err
	}
	fb, err := faiss.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer fb.Close()
	if spec.Train > 0 {
		if err := b.train(ctx, fb, job, split); err != nil {
			return nil, err
		}
	}
	if err := b.fill(ctx, fb, job, split); err != nil {
		return nil, err
	}
	report, err := fb.Finish()
	if err != nil {
		return nil, err
	}
	return b.publish(ctx, fb, spec, int64(n), report, func(s faiss.Stats) (Origin, error) {
		o := Origin{How: built, Why: why, TrainedImbalance: s.Imbalance, Imbalance: s.Imbalance}
		if report.Recall10 != nil {
			o.TrainedRecall = *report.Recall10
		}
		return o, nil
	})
}

func (b IndexBuilder) plan(job IndexJob, factory string, n int) (faiss.Spec, faiss.Split, error) {
	held := b.held(n)
	train, err := faiss.TrainSize(factory, n-held)
	if err != nil {
		return faiss.Spec{}, faiss.Split{}, err
	}
	spec := faiss.Spec{Task: job.Task, Factory: factory, Train: train, Threads: b.Threads, Recall: b.Target}
	return spec, faiss.NewSplit(n, held, train), nil
}

// each reads embeddings of tonight's in order.
func (b IndexBuilder) each(ctx context.Context, files []File, dim int, do func(Vectors) error) error {
	for _, f := range files {
		data, err := readFile(ctx, b.Objects, f)
		if err != nil {
			return err
		}
		if err := ReadVectors(ctx, data, dim, do); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

func (b IndexBuilder) train(ctx context.Context, fb *faiss.Builder, job IndexJob, split faiss.Split) error {
	err := b.each(ctx, job.Files, job.Task.Dim, func(v Vectors) error {
		return fb.Sample(v.where(job.Task.Dim, split.Sampled).Data)
	})
	if err != nil {
		return err
	}
	return fb.Train()
}

// fill hands over the held-out vectors and then all others: two passes, so that neither the queries'
// place in the gallery nor its size matters to memory.
func (b IndexBuilder) fill(ctx context.Context, fb *faiss.Builder, job IndexJob, split faiss.Split) error {
	err := b.each(ctx, job.Files, job.Task.Dim, func(v Vectors) error {
		v = v.where(job.Task.Dim, split.HeldOut)
		return fb.HoldOut(v.IDs, v.Data)
	})
	if err != nil {
		return err
	}
	return b.each(ctx, job.Files, job.Task.Dim, func(v Vectors) error {
		v = v.where(job.Task.Dim, func(id int64) bool { return !split.HeldOut(id) })
		return fb.Add(v.IDs, v.Data)
	})
}

// where copies the rows whose ids are wanted.
func (v Vectors) where(dim int, wanted func(int64) bool) Vectors {
	var out Vectors
	for i, id := range v.IDs {
		if wanted(id) {
			out.IDs = append(out.IDs, id)
			out.Data = append(out.Data, v.Data[i*dim:(i+1)*dim]...)
		}
	}
	return out
}

// publish stores the finished index, unless origin has something against it.
func (b IndexBuilder) publish(ctx context.Context, fb *faiss.Builder, spec faiss.Spec, n int64, report faiss.Report, origin func(faiss.Stats) (Origin, error)) (*BuiltIndex, error) {
	local, err := createLocal(b.Dir, "knn-*.index")
	if err != nil {
		return nil, err
	}
	defer local.discard()
	stats, size, err := fb.Write(local.f.Name())
	if err != nil {
		return nil, err
	}
	o, err := origin(stats)
	if err != nil {
		return nil, err
	}
	if stats.Total != n {
		return nil, fmt.Errorf("%w: the index holds %d vectors, the embeddings are %d", ErrUnbalanced, stats.Total, n)
	}
	digest, err := hashFile(local.f.Name())
	if err != nil {
		return nil, err
	}
	task := spec.Task.Name
	dir := path.Join("index", task, digest[:16])
	index := File{Path: path.Join(dir, "knn.index"), Kind: Index, Task: task, Rows: n, Bytes: size, SHA256: digest}
	if err := storeFile(ctx, b.Objects, Sealed{File: index, Local: local.f.Name()}); err != nil {
		return nil, err
	}
	var doc bytes.Buffer
	if err := faiss.NewInfos(spec, index.Path, report, stats, size).Encode(&doc); err != nil {
		return nil, fmt.Errorf("encode index infos: %w", err)
	}
	infos := File{Kind: IndexInfos, Task: task, Bytes: int64(doc.Len()), SHA256: hexDigest(doc.Bytes())}
	infos.Path = path.Join(dir, "index_infos.json")
	// The latencies in it differ from run to run: where the same index was published before, the
	// manifest of that snapshot holds its digest, so the document that is there stays.
	infos, err = keepOrPut(ctx, b.Objects, infos, doc.Bytes(), sameIndex)
	if err != nil {
		return nil, err
	}
	t := TaskIndex{
		Path: index.Path, Factory: spec.Factory, Params: report.Params, NTotal: stats.Total,
		Recall: -1, Queries: report.Queries, Asked: b.asked(), Origin: o,
	}
	if report.Recall10 != nil {
		t.Recall = *report.Recall10
	}
	return &BuiltIndex{Task: task, Index: t, Files: []File{index, infos}}, nil
}

// sameIndex tells whether two documents are infos of the same index, whatever was measured of it.
func sameIndex(a, b []byte) bool {
	about := func(doc []byte) (i faiss.Infos, ok bool) {
		ok = json.Unmarshal(doc, &i) == nil
		return faiss.Infos{Key: i.Key, Path: i.Path, Size: i.Size, Vectors: i.Vectors, Dim: i.Dim, Metric: i.Metric, Type: i.Type, Task: i.Task}, ok
	}
	x, ok := about(a)
	y, too := about(b)
	return ok && too && x == y
}

// keepOrPut writes an object unless one is there already that is as good, and describes the one that is
// there after. One that was damaged is replaced.
func keepOrPut(ctx context.Context, objects store.Store, f File, data []byte, asGood func(there, data []byte) bool) (File, error) {
	_, err := put(ctx, objects, f.Path, data, store.IfAbsent())
	if errors.Is(err, store.ErrPrecondition) {
		var there []byte
		if there, _, err = readSmall(ctx, objects, f.Path); err == nil && asGood(there, data) {
			f.Bytes, f.SHA256 = int64(len(there)), hexDigest(there)
			return f, nil
		}
		if err == nil {
			_, err = put(ctx, objects, f.Path, data, store.Condition{})
		}
	}
	if err != nil {
		return f, fmt.Errorf("store %s: %w", f.Path, err)
	}
	return f, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash file: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("hash file: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
