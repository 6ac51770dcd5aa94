package faiss

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Merge joins IVF index files into one, without FAISS: it copies the inverted lists, so memory grows
// with their number and not with the vectors'. Trained is the empty file that all shards were made
// from (see Spec.Trained), and the shards' ids are disjoint. The result is byte for byte what
// FAISS's own merge_into writes, in the shards' order. On an error nothing is left at out, which must
// not be one of the inputs.
//
// It handles plain vectors, SQ and PQ codes behind any vector transforms and any coarse index; not
// IDMap, HNSW or FastScan indexes.
func Merge(trained string, shards []string, out string) error {
	if err := merge(trained, shards, out); err != nil {
		return fmt.Errorf("faiss: merge %d shards into %s: %w", len(shards), out, err)
	}
	return nil
}

func merge(trained string, paths []string, out string) (err error) {
	t, err := openTrained(trained)
	if err != nil {
		return err
	}
	defer t.file.Close()
	var shards []*shard
	defer func() {
		for _, s := range shards {
			s.file.Close()
		}
	}()
	totals := make([]uint64, t.nlist)
	for _, p := range paths {
		s, err := openShard(p, t)
		if err != nil {
			return err
		}
		shards = append(shards, s)
		if err := s.addSizes(totals); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	f, err := os.OpenFile(out, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = writeMerged(f, t, shards, totals); err == nil {
		err = f.Close()
	}
	if err != nil {
		f.Close()
		os.Remove(out)
	}
	return err
}

func writeMerged(f *os.File, t *ivfFile, shards []*shard, totals []uint64) error {
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.Copy(w, io.NewSectionReader(t.file, 0, t.lists+4+8+8)); err != nil {
		return err
	}
	if err := writeSizes(w, totals); err != nil {
		return err
	}
	if err := writeLists(w, t, shards); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	sum := uint64(0)
	for _, n := range totals {
		sum += n
	}
	for _, at := range t.totals {
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, sum), at); err != nil {
			return err
		}
	}
	return nil
}

// writeSizes writes the table of list sizes in the form that FAISS would choose. Its errors are
// sticky in w.
func writeSizes(w *bufio.Writer, totals []uint64) error {
	used := 0
	for _, n := range totals {
		if n > 0 {
			used++
		}
	}
	put := func(v uint64) { _, _ = w.Write(binary.LittleEndian.AppendUint64(w.AvailableBuffer(), v)) }
	full := used > len(totals)/2
	if full {
		_, _ = w.WriteString("full")
		put(uint64(len(totals)))
	} else {
		_, _ = w.WriteString("sprs")
		put(2 * uint64(used))
	}
	for list, n := range totals {
		switch {
		case full:
			put(n)
		case n > 0:
			put(uint64(list))
			put(n)
		}
	}
	_, err := w.Write(nil)
	return err
}

// writeLists writes every list: its codes from all shards, then its ids from all shards.
func writeLists(w io.Writer, t *ivfFile, shards []*shard) error {
	type reader struct {
		*sizes
		data *bufio.Reader
	}
	readers := make([]reader, len(shards))
	for i, s := range shards {
		data := io.NewSectionReader(s.file, s.data(), s.size-s.data())
		readers[i] = reader{s.sizes(), bufio.NewReaderSize(data, 1<<17)}
	}
	var ids []byte
	for list := range t.nlist {
		ids = ids[:0]
		for _, r := range readers {
			n, err := r.next(list)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			if _, err := io.CopyN(w, r.data, int64(n*t.codeSize)); err != nil {
				return fmt.Errorf("list %d: %w", list, err)
			}
			at := len(ids)
			ids = append(ids, make([]byte, 8*n)...)
			if _, err := io.ReadFull(r.data, ids[at:]); err != nil {
				return fmt.Errorf("list %d: %w", list, err)
			}
		}
		if _, err := w.Write(ids); err != nil {
			return err
		}
	}
	return nil
}
