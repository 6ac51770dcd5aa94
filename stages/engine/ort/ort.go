// Package ort runs networks on ONNX Runtime: one session shared by all workers, one thread inside
// it, and one goroutine a core outside. More threads inside a run spin while they wait and cost up
// to twice the CPU an image.
package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/facet-search/facet/stages/engine"
)

// LibraryEnv names the environment variable that overrides where the shared library is looked for.
const LibraryEnv = "FACET_ONNXRUNTIME"

const libraryName = "libonnxruntime.so.1"

// ErrLibrary means that ONNX Runtime's shared library is missing or of another version.
var ErrLibrary = errors.New("ONNX Runtime is not available")

// Engine is a model in an ONNX Runtime session.
type Engine struct {
	session *ort.DynamicAdvancedSession
	spec    engine.Spec
}

// Open loads a serialised ONNX model. It fails when the graph lacks the input or an output that spec
// names; shapes of outputs are checked by every run, since a graph need not declare them.
func Open(model []byte, spec engine.Spec) (*Engine, error) {
	if err := initialise(); err != nil {
		return nil, err
	}
	if err := checkNames(model, spec); err != nil {
		return nil, err
	}
	o, err := options()
	if err != nil {
		return nil, fmt.Errorf("ONNX Runtime session options: %w", err)
	}
	defer o.Destroy()
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(model, []string{spec.Input}, spec.Outputs, o)
	if err != nil {
		return nil, fmt.Errorf("load model into ONNX Runtime: %w", err)
	}
	return &Engine{session: s, spec: spec}, nil
}

// Version is the version of the loaded shared library.
func Version() (string, error) {
	if err := initialise(); err != nil {
		return "", err
	}
	return ort.GetVersion(), nil
}

// Close frees the session.
func (e *Engine) Close() error { return e.session.Destroy() }

func options() (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		o.SetIntraOpNumThreads(1),
		o.SetInterOpNumThreads(1),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
	)
	if err != nil {
		o.Destroy()
		return nil, err
	}
	return o, nil
}

func checkNames(model []byte, spec engine.Spec) error {
	ins, outs, err := ort.GetInputOutputInfoWithONNXData(model)
	if err != nil {
		return fmt.Errorf("read model's inputs and outputs: %w", err)
	}
	has := func(infos []ort.InputOutputInfo, name string) bool {
		return slices.ContainsFunc(infos, func(i ort.InputOutputInfo) bool { return i.Name == name })
	}
	if !has(ins, spec.Input) || len(ins) != 1 {
		return fmt.Errorf("the model must have the single input %q, it has %v", spec.Input, names(ins))
	}
	for _, name := range spec.Outputs {
		if !has(outs, name) {
			return fmt.Errorf("the model has no output %q; it has %v", name, names(outs))
		}
	}
	return nil
}

func names(infos []ort.InputOutputInfo) []string {
	var s []string
	for _, i := range infos {
		s = append(s, i.Name)
	}
	return s
}

// initialise loads the shared library once a process; ONNX Runtime has one environment.
var initialise = sync.OnceValue(func() error {
	path, err := findLibrary()
	if err != nil {
		return err
	}
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return fmt.Errorf("%w: load %s: %w", ErrLibrary, path, err)
	}
	return nil
})

// findLibrary looks at LibraryEnv, then relative to the executable as `make setup` and a package lay
// it out, and leaves the rest to the system's loader. It never looks into the working directory.
func findLibrary() (string, error) {
	if p := os.Getenv(LibraryEnv); p != "" {
		if _, err := os.Stat(p); err != nil {
			return "", fmt.Errorf("%w: %s=%s: %w", ErrLibrary, LibraryEnv, p, err)
		}
		return p, nil
	}
	if exe, err := os.Executable(); err == nil {
		for _, sub := range []string{"lib", "../lib", "../.deps/onnxruntime/lib"} {
			p := filepath.Join(filepath.Dir(exe), sub, libraryName)
			if _, err := os.Stat(p); err == nil {
				return p, nil
			}
		}
	}
	return libraryName, nil
}

// runner owns one input tensor and one output tensor a task for the full batch, and lazily, for each
// smaller batch that occurs, tensors that are views of the same memory.
type runner struct {
	e      *Engine
	batch  int
	input  []float32
	output [][]float32
	sized  map[int]*binding
	pinned runtime.Pinner
}

type binding struct{ in, out []ort.Value }

// NewRunner implements engine.Engine.
func (e *Engine) NewRunner(batch int) (engine.Runner, error) {
	r := &runner{
		e: e, batch: batch,
		input: make([]float32, batch*3*e.spec.Height*e.spec.Width),
		sized: map[int]*binding{},
	}
	r.pinned.Pin(&r.input[0])
	for _, d := range e.spec.Dims {
		out := make([]float32, batch*d)
		r.pinned.Pin(&out[0])
		r.output = append(r.output, out)
	}
	return r, nil
}

func (r *runner) Input() []float32          { return r.input }
func (r *runner) Output(task int) []float32 { return r.output[task] }

// Run implements engine.Runner. An output whose shape is not n×D fails here: ONNX Runtime compares
// the shapes of the tensors that it is given.
func (r *runner) Run(n int) error {
	if n < 1 || n > r.batch {
		return fmt.Errorf("run of %d images on tensors for %d", n, r.batch)
	}
	b, err := r.bind(n)
	if err != nil {
		return err
	}
	if err := r.e.session.Run(b.in, b.out); err != nil {
		return fmt.Errorf("run model on %d images: %w", n, err)
	}
	return nil
}

func (r *runner) bind(n int) (*binding, error) {
	if b := r.sized[n]; b != nil {
		return b, nil
	}
	b := &binding{}
	spec := r.e.spec
	shape := ort.NewShape(int64(n), 3, int64(spec.Height), int64(spec.Width))
	t, err := ort.NewTensor(shape, r.input[:shape.FlattenedSize()])
	if err != nil {
		return nil, fmt.Errorf("input tensor %v: %w", shape, err)
	}
	b.in = append(b.in, t)
	r.sized[n] = b // from here on Close frees what there is of it
	for i, d := range spec.Dims {
		t, err := ort.NewTensor(ort.NewShape(int64(n), int64(d)), r.output[i][:n*d])
		if err != nil {
			return nil, fmt.Errorf("tensor of output %q: %w", spec.Outputs[i], err)
		}
		b.out = append(b.out, t)
	}
	return b, nil
}

// Close implements engine.Runner.
func (r *runner) Close() error {
	var errs []error
	for _, b := range r.sized {
		for _, v := range slices.Concat(b.in, b.out) {
			errs = append(errs, v.Destroy())
		}
	}
	r.sized = map[int]*binding{}
	r.pinned.Unpin()
	return errors.Join(errs...)
}
