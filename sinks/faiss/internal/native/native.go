// Package native is FAISS itself: go-faiss, the C functions it binds (Debian ships FAISS's C++
// library without them), and the few that facet wants besides. Only the child process of package
// faiss calls it, since FAISS can abort or crash on what its input says.
//
// go-faiss links -lfaiss_c, which the empty archive libfaiss_c.a beside this file satisfies; the
// functions come from shim.cpp. To use another build of FAISS 1.7.3, for one with AVX2 throughout,
// set CGO_LDFLAGS=-L<its directory>.
package native

/*
#cgo CXXFLAGS: -std=c++17 -O3 -Wall
#cgo LDFLAGS: -L${SRCDIR} -lfaiss -lopenblas -lgomp -lstdc++ -lm
#cgo LDFLAGS: -Wl,--wrap=_ZN5faiss10fvec_L2sqrEPKfS1_m
#cgo LDFLAGS: -Wl,--wrap=_ZN5faiss18fvec_inner_productEPKfS1_m
#cgo LDFLAGS: -Wl,--wrap=_ZN5faiss15fvec_norm_L2sqrEPKfm
#include <stdlib.h>
#include "native.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	gofaiss "github.com/DataIntelligenceCrew/go-faiss"

	"github.com/facet-search/facet/pipeline"
)

// Index is an index in FAISS's memory. One goroutine uses it at a time.
type Index struct {
	index *gofaiss.IndexImpl
	c     *C.FaissIndex // the same index; go-faiss does not hand out its pointer
}

// New makes an empty index from a factory string.
func New(factory string, dim int, metric pipeline.Metric) (*Index, error) {
	return open(func() (*gofaiss.IndexImpl, error) {
		return gofaiss.IndexFactory(dim, factory, faissMetric(metric))
	})
}

// Read reads an index file into memory. It fails on most broken files and crashes on some.
func Read(path string) (*Index, error) {
	return open(func() (*gofaiss.IndexImpl, error) { return gofaiss.ReadIndex(path, 0) })
}

func open(do func() (*gofaiss.IndexImpl, error)) (*Index, error) {
	var x Index
	err := onThread(func() (err error) {
		x.index, err = do()
		x.c = C.facet_last_index()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &x, nil
}

// onThread keeps a call and the look at its error message on one thread: FAISS's messages are
// thread-local, and the runtime may move a goroutine between two calls.
func onThread(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return do()
}

// check runs one of our own C functions and turns its code into an error.
func check(do func() C.int) error {
	return onThread(func() error {
		if do() != 0 {
			return errors.New(C.GoString(C.faiss_get_last_error()))
		}
		return nil
	})
}

func faissMetric(m pipeline.Metric) int {
	if m == pipeline.Cosine {
		return gofaiss.MetricInnerProduct
	}
	return gofaiss.MetricL2
}

// Close frees the index.
func (x *Index) Close() { x.index.Delete() }

// Dim is the length of a vector.
func (x *Index) Dim() int { return x.index.D() }

// Total is the number of vectors.
func (x *Index) Total() int64 { return x.index.Ntotal() }

// Trained says whether vectors can be added.
func (x *Index) Trained() bool { return x.index.IsTrained() }

// Metric is how the index compares vectors; "" for FAISS's other metrics.
func (x *Index) Metric() pipeline.Metric {
	switch x.index.MetricType() {
	case gofaiss.MetricInnerProduct:
		return pipeline.Cosine
	case gofaiss.MetricL2:
		return pipeline.L2
	}
	return ""
}

// Describe is the C++ class of the index, through its wrappers.
func (x *Index) Describe() string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return C.GoString(C.facet_describe(x.c))
}

// Train fits the index to vectors [n, Dim].
func (x *Index) Train(vectors []float32) error {
	if len(vectors) == 0 {
		return errors.New("no vectors to train on")
	}
	return onThread(func() error { return x.index.Train(vectors) })
}

// Add adds vectors [len(ids), Dim] under the ids.
func (x *Index) Add(ids []int64, vectors []float32) error {
	if len(ids) == 0 {
		return nil
	}
	return onThread(func() error { return x.index.AddWithIDs(vectors, ids) })
}

// Remove removes the vectors of the ids and says how many there were. Inverted lists can do it, and
// so can flat indexes; HNSW graphs refuse. It looks at every id that the index holds, so many ids at
// once are cheaper than few.
func (x *Index) Remove(ids []int64) (n int, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	err = onThread(func() error {
		leaving, err := gofaiss.NewIDSelectorBatch(ids)
		if err != nil {
			return err
		}
		defer leaving.Delete()
		n, err = x.index.RemoveIDs(leaving)
		return err
	})
	return n, err
}

// Imbalance is FAISS's factor of the inverted lists: 1 if all are equally long, 0 if there are none,
// or no vectors.
func (x *Index) Imbalance() (float64, error) {
	var factor C.double
	err := check(func() C.int { return C.facet_imbalance(x.c, &factor) })
	return float64(factor), err
}

// Search finds the k nearest of each query [n, Dim]: distances and ids are [n, k], nearest first, a
// missing neighbour has id -1.
func (x *Index) Search(queries []float32, k int) (distances []float32, ids []int64, err error) {
	if len(queries) == 0 {
		return nil, nil, nil
	}
	err = onThread(func() error {
		distances, ids, err = x.index.Search(queries, int64(k))
		return err
	})
	return distances, ids, err
}

// Tune sets search parameters such as "nprobe=16,efSearch=32"; they are written with the index.
func (x *Index) Tune(params string) error {
	if params == "" {
		return nil
	}
	return onThread(func() error {
		space, err := gofaiss.NewParameterSpace()
		if err != nil {
			return err
		}
		defer space.Delete()
		for _, p := range strings.Split(params, ",") {
			name, value, _ := strings.Cut(p, "=")
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("search parameter %q: want name=number", p)
			}
			if err := space.SetIndexParameter(x.index, name, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Write writes the index to a file that any FAISS reads.
func (x *Index) Write(path string) error {
	return onThread(func() error { return gofaiss.WriteIndex(x.index, path) })
}

// IDs copies ids, beginning with the from-th in the index's order, and says how many; less than
// len(out) only at the end.
func (x *Index) IDs(from int64, out []int64) (int, error) {
	if len(out) == 0 {
		return 0, nil
	}
	var n C.size_t
	err := check(func() C.int {
		return C.facet_ids(x.c, C.size_t(from), C.size_t(len(out)), (*C.int64_t)(&out[0]), &n)
	})
	return int(n), err
}

// Exact holds the true nearest neighbours of some queries among the vectors that it was shown.
type Exact struct {
	Queries   []float32 // [n, dim]
	Distances []float32 // [n, K], nearest first, ties by ascending id
	IDs       []int64   // [n, K]; -1 where there is no neighbour yet
	K         int

	dim    int
	metric pipeline.Metric
}

// NewExact starts with no neighbours.
func NewExact(queries []float32, dim int, metric pipeline.Metric, k int) *Exact {
	n := len(queries) / dim
	e := &Exact{
		Queries: queries, Distances: make([]float32, n*k), IDs: make([]int64, n*k), K: k,
		dim: dim, metric: metric,
	}
	for i := range e.IDs {
		e.IDs[i] = -1
	}
	return e
}

// Add compares the queries with further vectors [len(ids), dim].
func (e *Exact) Add(ids []int64, vectors []float32) error {
	if len(e.Queries) == 0 || len(ids) == 0 {
		return nil
	}
	var innerProduct C.int
	if e.metric == pipeline.Cosine {
		innerProduct = 1
	}
	return check(func() C.int {
		return C.facet_exact(innerProduct, C.size_t(e.dim),
			C.size_t(len(e.Queries)/e.dim), (*C.float)(&e.Queries[0]),
			C.size_t(len(ids)), (*C.float)(&vectors[0]), (*C.int64_t)(&ids[0]),
			C.size_t(e.K), (*C.float)(&e.Distances[0]), (*C.int64_t)(&e.IDs[0]))
	})
}

// Merge is FAISS's own merge of IVF files, in memory: what the merge in Go is tested against.
func Merge(trained string, shards []string, out string) error {
	names := make([]*C.char, 0, len(shards)+2)
	for _, s := range append([]string{trained, out}, shards...) {
		names = append(names, C.CString(s))
	}
	list := (**C.char)(C.malloc(C.size_t(len(names)) * C.size_t(unsafe.Sizeof(names[0]))))
	copy(unsafe.Slice(list, len(names)), names)
	defer func() {
		for _, s := range names {
			C.free(unsafe.Pointer(s))
		}
		C.free(unsafe.Pointer(list))
	}()
	first := (**C.char)(unsafe.Add(unsafe.Pointer(list), 2*unsafe.Sizeof(names[0])))
	return check(func() C.int { return C.facet_merge(names[0], first, C.int(len(shards)), names[1]) })
}

// SetThreads sets how many threads FAISS uses in this process, for tests and benchmarks: package faiss
// sets OMP_NUM_THREADS before its child starts.
func SetThreads(n int) { C.facet_set_threads(C.int(n)) }

// EndLikeC lets a crash end the process by its signal instead of by the Go runtime's exit status, and
// keeps nothing that is printed in a buffer.
func EndLikeC() { C.facet_end_like_c() }

// InnerProduct is ⟨x, y⟩ by the kernel that FAISS uses here.
func InnerProduct(x, y []float32) float32 {
	return float32(C.facet_inner_product(first(x), first(y), C.size_t(len(x))))
}

// L2Squared is ‖x-y‖² by the kernel that FAISS uses here.
func L2Squared(x, y []float32) float32 {
	return float32(C.facet_l2sqr(first(x), first(y), C.size_t(len(x))))
}

// NormSquared is ‖x‖² by the kernel that FAISS uses here.
func NormSquared(x []float32) float32 {
	return float32(C.facet_norm_l2sqr(first(x), C.size_t(len(x))))
}

func first(x []float32) *C.float { return (*C.float)(unsafe.SliceData(x)) }

// FastKernels switches between our AVX2 kernels and the library's own, and says whether this
// processor can run ours. They are on from the start where it can.
func FastKernels(on bool) bool {
	var v C.int
	if on {
		v = 1
	}
	return C.facet_fast_kernels(v) != 0
}
