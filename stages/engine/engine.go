// Package engine says what runs a network: an Engine holds a model, a Runner is one worker's own
// input and output tensors on it. The implementations are packages beneath this one.
package engine

// Engine is a loaded model. NewRunner may be called from several goroutines; Close comes after the
// last runner's Close.
type Engine interface {
	// NewRunner allocates tensors for batches of up to batch images.
	NewRunner(batch int) (Runner, error)
	Close() error
}

// Runner runs batches, one goroutine at a time. Its tensors are allocated once and reused by every
// run: fresh pages are dear.
type Runner interface {
	// Input is the input tensor, batch×3×H×W float32 in NCHW order, for the caller to fill.
	Input() []float32
	// Run computes all outputs of the first n images, 1 ≤ n ≤ batch.
	Run(n int) error
	// Output is the output of one task (an index into the tasks the engine was opened with), n×D of
	// the last run. It is valid until the next Run.
	Output(task int) []float32
	Close() error
}

// Spec names what an engine is to bind: the graph's one image input and the outputs in the order of
// the job's tasks.
type Spec struct {
	Input         string
	Height, Width int
	Outputs       []string
	Dims          []int // length of each output's vectors
}
