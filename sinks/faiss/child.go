package faiss

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/facet-search/facet/sinks/faiss/internal/native"
)

// MaybeChild takes the process over if it was started as a FAISS child, and does not return then.
// Call it first thing in main, and in TestMain of packages that use this one.
func MaybeChild() {
	if os.Getenv(marker) == "" {
		return
	}
	// What is printed is for error messages; it must not block when nobody reads it.
	_ = syscall.SetNonblock(1, true)
	_ = syscall.SetNonblock(2, true)
	native.EndLikeC()
	err := serve(os.NewFile(3, "requests"), os.NewFile(4, "replies"))
	code := 0
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	syscall.Exit(code) // at once: no index is freed, and the race detector does not linger
}

// serve answers requests until there are no more.
func serve(r io.Reader, w io.Writer) error {
	s := &session{conn: newConn(r, w)}
	if err := s.send(reply{Hello: protocol}); err != nil {
		return err
	}
	for {
		var req request
		err := s.receive(&req)
		if errors.Is(err, io.EOF) {
			return nil // the parent closed its end, or is gone
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		rep, body, failed := s.answer(req)
		if err := s.skip(); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if failed != nil {
			rep, body = reply{Err: failed.Error()}, nil
		}
		if err := s.send(rep, body...); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
	}
}

// session is the child's state: one index, being built or searched.
type session struct {
	*conn
	index *native.Index
	build *construction // nil while searching
}

func (s *session) answer(req request) (reply, [][]byte, error) {
	if req.Op != opBuild && req.Op != opOpen && s.index == nil {
		return reply{}, nil, errors.New("no index is open")
	}
	switch req.Op {
	case opBuild:
		return reply{}, nil, s.startBuild(req)
	case opSample, opTrain, opRemove, opHoldOut, opAdd, opCompare, opFinish:
		if s.build == nil {
			return reply{}, nil, errors.New("the index is open for searching")
		}
		return s.answerBuild(req)
	case opWrite:
		return s.write(req.Path)
	case opOpen:
		return s.open(req)
	case opTune:
		return reply{}, nil, s.index.Tune(req.Params)
	case opSearch:
		return s.search(req.N, req.K)
	case opIDs:
		return s.ids(req.From, req.N)
	}
	return reply{}, nil, fmt.Errorf("unknown request %q", req.Op)
}

const (
	opBuild   = "factory"
	opSample  = "sample"
	opTrain   = "train"
	opRemove  = "remove"
	opHoldOut = "hold-out"
	opAdd     = "add"
	opCompare = "compare"
	opFinish  = "finish"
	opWrite   = "write"
	opOpen    = "open"
	opTune    = "tune"
	opSearch  = "search"
	opIDs     = "ids"
)

func (s *session) startBuild(req request) (err error) {
	if req.Spec == nil {
		return errors.New("no spec")
	}
	if err := limitMemory(req.Spec.Memory); err != nil {
		return err
	}
	s.build, err = newConstruction(*req.Spec)
	if err == nil {
		s.index = s.build.index
	}
	return err
}

func (s *session) answerBuild(req request) (reply, [][]byte, error) {
	switch req.Op {
	case opTrain:
		return reply{}, nil, s.build.train()
	case opFinish:
		report, err := s.build.finish()
		return reply{Report: report}, nil, err
	case opRemove:
		return s.remove(req.N)
	}
	if req.N < 0 || req.N > maxBody/s.index.Dim() {
		return reply{}, nil, fmt.Errorf("%d vectors in one request", req.N)
	}
	ids, vectors := s.build.incoming(req.N)
	if req.Op == opSample {
		ids = nil
	}
	if err := s.body(raw(ids), raw(vectors)); err != nil {
		return reply{}, nil, err
	}
	switch req.Op {
	case opSample:
		return reply{}, nil, s.build.takeSample(vectors)
	case opHoldOut:
		return reply{}, nil, s.build.holdOut(ids, vectors)
	case opCompare:
		return reply{}, nil, s.build.compare(ids, vectors)
	}
	return reply{}, nil, s.build.add(ids, vectors)
}

func (s *session) remove(n int) (reply, [][]byte, error) {
	if n < 0 || n > removeBatch {
		return reply{}, nil, fmt.Errorf("%d ids in one request", n)
	}
	ids := make([]int64, n)
	if err := s.body(raw(ids)); err != nil {
		return reply{}, nil, err
	}
	return reply{}, nil, s.build.remove(ids)
}

func (s *session) write(path string) (reply, [][]byte, error) {
	if s.build != nil && s.build.unfinished() {
		return reply{}, nil, errors.New("vectors are waiting for finish")
	}
	if err := s.index.Write(path); err != nil {
		return reply{}, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return reply{}, nil, err
	}
	stats, err := s.stats()
	return reply{Size: info.Size(), Stats: stats}, nil, err
}

func (s *session) stats() (*Stats, error) {
	imbalance, err := s.index.Imbalance()
	return &Stats{
		Total: s.index.Total(), Dim: s.index.Dim(), Metric: s.index.Metric(), Imbalance: imbalance, Type: s.index.Describe(),
	}, err
}

// open reads an index file. A corrupt one may ask for any amount of memory, so the child may have no
// more than a sound one could need: ids in IDMap2's hash table take the most, for short codes.
func (s *session) open(req request) (reply, [][]byte, error) {
	info, err := os.Stat(req.Path)
	if err != nil {
		return reply{}, nil, err
	}
	if err := limitMemory(6*info.Size() + 1<<30); err != nil {
		return reply{}, nil, err
	}
	if s.index, err = native.Read(req.Path); err != nil {
		return reply{}, nil, err
	}
	stats, err := s.stats()
	return reply{Stats: stats}, nil, err
}

func (s *session) search(n, k int) (reply, [][]byte, error) {
	k = int(min(int64(k), s.index.Total()))
	if n < 0 || n > maxBody/s.index.Dim() || k < 0 {
		return reply{}, nil, fmt.Errorf("%d queries for %d neighbours", n, k)
	}
	queries := make([]float32, n*s.index.Dim())
	if err := s.body(raw(queries)); err != nil {
		return reply{}, nil, err
	}
	if n == 0 || k == 0 {
		return reply{}, nil, nil
	}
	distances, ids, err := s.index.Search(queries, k)
	return reply{N: k}, [][]byte{raw(ids), raw(distances)}, err
}

func (s *session) ids(from int64, n int) (reply, [][]byte, error) {
	if from < 0 || n < 0 || n > idChunk {
		return reply{}, nil, fmt.Errorf("%d ids from %d", n, from)
	}
	ids := make([]int64, n)
	n, err := s.index.IDs(from, ids)
	return reply{N: n}, [][]byte{raw(ids[:n])}, err
}

// limitMemory lets this process allocate about so many bytes more; 0 means any amount.
func limitMemory(more int64) error {
	if more <= 0 {
		return nil
	}
	used, err := dataSize()
	if err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	limit := uint64(used) + uint64(more)
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return fmt.Errorf("limit memory to %d bytes: %w", limit, err)
	}
	return nil
}

// dataSize is what the kernel counts against RLIMIT_DATA, in bytes.
func dataSize() (int64, error) {
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var pages [6]int64
	if _, err := fmt.Sscan(string(status), &pages[0], &pages[1], &pages[2], &pages[3], &pages[4], &pages[5]); err != nil {
		return 0, err
	}
	return pages[5] * int64(os.Getpagesize()), nil
}
