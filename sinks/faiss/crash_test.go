package faiss

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSegfaultIsAnError makes FAISS follow a graph whose links point far outside of the index.
func TestSegfaultIsAnError(t *testing.T) {
	ids, vectors := gallery(2000, testDim)
	path := tempFile(t, "knn.index")
	recipe{spec: Spec{Task: task("style", testDim), Factory: "HNSW32"}, batch: 2000}.build(t, path, ids, vectors)
	b, err := os.ReadFile(path)
	must(t, err)
	breakLinks(t, b)
	must(t, os.WriteFile(path, b, 0o600))

	s, err := OpenIndex(t.Context(), path, task("style", testDim), 1)
	must(t, err)
	defer s.Close()
	for range 2 { // the error stays
		_, err = s.Search(vectors[:testDim], 10)
		for _, want := range []string{"search", `"style"`, "SIGSEGV"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want something about %s", err, want)
			}
		}
	}
}

// breakLinks overwrites the neighbours in the bytes of an "IxM2", "IHNf" file.
func breakLinks(t *testing.T, b []byte) {
	at := 2 * (4 + headerSize)
	for _, width := range []int{8, 4, 4, 8} { // assign_probas, cum_nneighbor_per_level, levels, offsets
		at += 8 + width*int(binary.LittleEndian.Uint64(b[at:]))
	}
	n := int(binary.LittleEndian.Uint64(b[at:]))
	if n < 2000*64 {
		t.Fatalf("%d neighbours is not what the file holds", n)
	}
	for i := range n {
		binary.LittleEndian.PutUint32(b[at+8+4*i:], 0x7fff_0000+uint32(i%100))
	}
}

func TestKilledChild(t *testing.T) {
	b, err := Start(t.Context(), Spec{Task: task("style", testDim), Factory: "IDMap2,Flat"})
	must(t, err)
	defer b.Close()
	must(t, b.p.cmd.Process.Kill()) // as the kernel does when memory runs out
	ids, vectors := gallery(1000, testDim)
	err = b.Add(ids, vectors)
	if err == nil || !strings.Contains(err.Error(), `add of task "style"`) || !strings.Contains(err.Error(), "SIGKILL") {
		t.Errorf("got %v, want the operation, the task and the signal", err)
	}
}

func TestCancelKillsTheChild(t *testing.T) {
	ids, vectors := gallery(20000, 256)
	ctx, cancel := context.WithCancelCause(t.Context())
	b, err := Start(ctx, Spec{Task: task("style", 256), Factory: "IDMap2,HNSW64"})
	must(t, err)
	defer b.Close()
	why := errors.New("interrupted")
	time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
	begin := time.Now()
	for range 1000 { // minutes of work
		if err = b.Add(ids, vectors); err != nil {
			break
		}
	}
	if !errors.Is(err, why) {
		t.Errorf("got %v after %v, want the cancellation's cause", err, time.Since(begin))
	}
	if !gone(b.p.cmd.Process.Pid) {
		t.Error("the child is still there")
	}
	must(t, b.Close())
}

// gone tells whether no process, not even a zombie, has the id.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestChildEndsWithItsParent(t *testing.T) {
	// An orphan's zombie would stay if whoever adopts it here never waits; so adopt it.
	must(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	parent := exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), orphaned+"=1")
	out, err := parent.StdoutPipe()
	must(t, err)
	must(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	var child int
	if _, err := fmt.Sscan(line, &child); err != nil {
		t.Fatalf("the parent says %q", line)
	}
	must(t, parent.Process.Kill())
	_ = parent.Wait()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child, &status, 0, nil); err != nil && !errors.Is(err, syscall.ECHILD) {
		t.Fatal(err)
	}
	if !gone(child) {
		t.Error("the child outlives its parent")
	}
}

func TestStrayPrintsDoNoHarm(t *testing.T) {
	ids, vectors := gallery(4000, testDim)
	b, err := Start(t.Context(), Spec{Task: task("style", testDim), Factory: "IVF64,Flat"})
	must(t, err)
	defer b.Close()
	_, err = b.p.call(request{Op: opTune, Params: "verbose=1"}, nil, nil)
	must(t, err)
	must(t, b.Sample(vectors))
	must(t, b.Train()) // prints every iteration of k-means to stdout
	must(t, b.Add(ids, vectors))
	_, err = b.Finish()
	must(t, err)
	if n := len(b.p.tail); n > tailSize {
		t.Errorf("%d bytes of output were kept", n)
	}
	must(t, b.Close())
	if len(b.p.tail) == 0 {
		t.Error("nothing of the child's output was kept")
	}
}

func TestEnvironment(t *testing.T) {
	env := childEnv([]string{"OPENBLAS_CORETYPE=Haswell", "OMP_NUM_THREADS=64", "GOMP_SPINCOUNT=999"}, 0)
	got := map[string]string{}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		got[k] = v
	}
	want := map[string]string{
		"OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
		"OPENBLAS_NUM_THREADS": "1", marker: "1",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s=%q, want %q", k, got[k], v)
		}
	}
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "GOMP_SPINCOUNT") }) {
		t.Error("GOMP_SPINCOUNT is handed on; it would undo OMP_WAIT_POLICY")
	}
}

func TestChildStartsNoChildren(t *testing.T) {
	t.Setenv(marker, "1")
	if _, err := Start(t.Context(), Spec{Task: task("style", 4), Factory: "Flat"}); err == nil || !strings.Contains(err.Error(), "MaybeChild") {
		t.Errorf("got %v, want a word about MaybeChild", err)
	}
}

func TestCloseTwice(t *testing.T) {
	b, err := Start(t.Context(), Spec{Task: task("style", 4), Factory: "IDMap2,Flat"})
	must(t, err)
	must(t, b.Close())
	must(t, b.Close())
	if err := b.Train(); !errors.Is(err, errClosed) {
		t.Errorf("a closed builder says %v", err)
	}
}
