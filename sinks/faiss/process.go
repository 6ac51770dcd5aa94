package faiss

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the environment variable that makes MaybeChild take a process over.
const marker = "FACET_FAISS_CHILD"

// tailSize bounds what is kept of the child's own words.
const tailSize = 4 << 10

// helloTimeout is for a machine that is busy to the point of paging.
const helloTimeout = time.Minute

// process is a running child, seen from its parent. One goroutine uses it at a time, and none is
// started beyond the one with which package exec watches the context.
type process struct {
	*conn
	ctx      context.Context
	task     string
	cmd      *exec.Cmd
	requests *os.File // our end; its closing ends the child
	replies  *os.File
	words    *os.File // what the child prints
	tail     []byte
	ended    error // set once the child is gone
}

// errClosed is what calls get after Close.
var errClosed = errors.New("closed")

// start runs this binary again as a child. It is killed when ctx ends or this process does.
func start(ctx context.Context, task string, threads int) (*process, error) {
	if os.Getenv(marker) != "" {
		// Without this, a program that forgot MaybeChild would start itself without end.
		return nil, errors.New("faiss: this process is a FAISS child itself; call faiss.MaybeChild first thing in main")
	}
	p := &process{ctx: ctx, task: task}
	if err := p.spawn(threads); err != nil {
		return nil, p.wrap("start", err)
	}
	// A program that forgot MaybeChild may never say anything.
	_ = p.replies.SetReadDeadline(time.Now().Add(helloTimeout))
	var hello reply
	err := p.receive(&hello)
	_ = p.replies.SetReadDeadline(time.Time{})
	if err == nil && hello.Hello != protocol {
		err = fmt.Errorf("it speaks %q, want %q", hello.Hello, protocol)
	}
	if err == nil {
		return p, nil
	}
	err = p.died(err)
	if ctx.Err() == nil {
		err = fmt.Errorf("%w (does main call faiss.MaybeChild first?)", err)
	}
	return nil, p.wrap("start", err)
}

func (p *process) spawn(threads int) error {
	var pipes [3]struct{ r, w *os.File }
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			for _, made := range pipes[:i] {
				made.r.Close()
				made.w.Close()
			}
			return err
		}
		pipes[i].r, pipes[i].w = r, w
	}
	requests, replies, words := pipes[0], pipes[1], pipes[2]
	p.requests, p.replies, p.words = requests.w, replies.r, words.r
	p.conn = newConn(p.replies, p.requests)

	// The binary that runs, even if the file has been replaced since.
	p.cmd = exec.CommandContext(p.ctx, "/proc/self/exe")
	p.cmd.Args = []string{"facet-faiss", p.task}
	p.cmd.Env = childEnv(os.Environ(), threads)
	// What C libraries print must not mix with replies, so these have a descriptor of their own.
	p.cmd.ExtraFiles = []*os.File{requests.r, replies.w}
	p.cmd.Stdout, p.cmd.Stderr = words.w, words.w
	// In a group of its own, since Ctrl-C at the terminal is for the parent to act on. The death
	// signal comes when the parent's thread ends that started the child; Go ends a thread only if a
	// goroutine is locked to it and returns, and Start is not for such goroutines.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err := p.cmd.Start()
	for _, theirs := range []*os.File{requests.r, replies.w, words.w} {
		theirs.Close()
	}
	if err != nil {
		p.closeFiles()
	}
	return err
}

// childEnv sets what OpenMP and OpenBLAS read when they are loaded. Left to themselves, waiting
// threads spin and cost up to eight times the work.
func childEnv(env []string, threads int) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "GOMP_SPINCOUNT=") {
			kept = append(kept, e)
		}
	}
	return append(kept, // the last value of a name counts
		"OMP_NUM_THREADS="+strconv.Itoa(max(threads, 1)),
		"OMP_WAIT_POLICY=passive",
		"OPENBLAS_NUM_THREADS=1",
		"GOTRACEBACK=single",
		marker+"=1")
}

// call sends a request with its body and waits for the reply, whose body goes where into says.
func (p *process) call(req request, body [][]byte, into func(reply) [][]byte) (reply, error) {
	if p.ended != nil {
		return reply{}, p.wrap(req.Op, p.ended)
	}
	var rep reply
	err := p.send(req, body...)
	if err == nil {
		err = p.receive(&rep)
	}
	if err == nil && into != nil && rep.Err == "" {
		err = p.body(into(rep)...)
	}
	if err != nil {
		return reply{}, p.wrap(req.Op, p.died(err))
	}
	p.listen()
	if rep.Err != "" {
		return reply{}, p.wrap(req.Op, errors.New(rep.Err))
	}
	return rep, nil
}

func (p *process) wrap(op string, err error) error {
	return fmt.Errorf("faiss: %s of task %q: %w", op, p.task, err)
}

// died reaps a child that no longer answers, or not sensibly, and says what became of it.
func (p *process) died(cause error) error {
	p.requests.Close()
	_ = p.cmd.Process.Kill() // does nothing to a process that is ending already
	_ = p.cmd.Wait()         // its state says more than the error
	p.listen()
	p.closeFiles()
	p.ended = p.postMortem(cause)
	return p.ended
}

func (p *process) postMortem(cause error) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	said := ""
	if len(p.tail) > 0 {
		said = ": " + strings.TrimSpace(string(p.tail))
	}
	hungUp := errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF) || errors.Is(cause, syscall.EPIPE)
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !hungUp:
		return fmt.Errorf("the FAISS process did not answer: %w%s", cause, said)
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return fmt.Errorf("the FAISS process was killed (SIGKILL), by the kernel if memory ran out%s", said)
	case status.Signaled():
		return fmt.Errorf("the FAISS process crashed (%s)%s", unix.SignalName(status.Signal()), said)
	}
	return fmt.Errorf("the FAISS process ended with exit status %d%s", status.ExitStatus(), said)
}

// listen takes what the child has printed so far, without waiting, and keeps the end of it.
func (p *process) listen() {
	pipe, err := p.words.SyscallConn()
	if err != nil {
		return
	}
	var buf [tailSize]byte
	_ = pipe.Read(func(fd uintptr) bool {
		for {
			n, err := unix.Read(int(fd), buf[:])
			if n <= 0 || err != nil {
				return true
			}
			p.tail = append(p.tail, buf[:n]...)
			p.tail = p.tail[max(0, len(p.tail)-tailSize):]
		}
	})
}

func (p *process) closeFiles() {
	for _, f := range []*os.File{p.requests, p.replies, p.words} {
		f.Close()
	}
}

// close ends the child and waits for it. Further calls fail; closing again does nothing.
func (p *process) close() error {
	if p.ended != nil {
		return nil
	}
	p.requests.Close()
	err := p.cmd.Wait()
	p.listen()
	p.closeFiles()
	p.ended = errClosed
	if err != nil && p.ctx.Err() == nil {
		return p.wrap("close", p.postMortem(io.EOF))
	}
	return nil
}
