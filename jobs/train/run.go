// Package train is the job `facet train`: from labelled images to a model file that `facet index` runs.
package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/labels"
)

// The files in the output folder.
const (
	modelFile      = "model.onnx"
	checkpointFile = "checkpoint.state"
)

// MadeByKey is the key of a model's metadata under which a Provenance stands.
const MadeByKey = "facet.training"

// Provenance says how a model was made. It names no time and no place: the same run makes the same file.
type Provenance struct {
	Run      train.Run `json:"run"` // recipe with its seed, digest of the data, tasks, parameters
	Network  Network   `json:"network"`
	Trained  string    `json:"trained"` // "all" or "modulation"
	Steps    int       `json:"steps"`
	Draws    int       `json:"draws"` // images drawn in training, each draw counted
	Images   int       `json:"images"`
	Threads  int       `json:"threads"`
	Accuracy []float64 `json:"triplet_accuracy"` // of the validation split, a task; null where it has no triplets
	Facet    string    `json:"facet"`
}

// Result is what a run came to; it is what `facet train --json` prints.
type Result struct {
	Model      string       `json:"model"`
	SHA256     string       `json:"sha256"`
	Steps      int          `json:"steps"`
	Draws      int          `json:"draws"`
	Parameters int          `json:"parameters"`
	Tasks      []TaskResult `json:"tasks"`
	Seconds    float64      `json:"seconds"` // of this process
	PerSecond  float64      `json:"images_per_second"`
}

// TaskResult is a task's part of a result.
type TaskResult struct {
	Task       string  `json:"task"`
	Accuracy   float64 `json:"triplet_accuracy"` // of the validation split; -1 where it has no triplets
	Loss       float64 `json:"loss"`             // mean of the last tenth
	DeadScales int     `json:"dead_scales"`
	Scales     int     `json:"scales"`
	Parameters int     `json:"parameters"` // of its own
}

// job is a run with everything that it needs.
type job struct {
	config   Config
	progress *progress.Progress

	data     *Data
	net      *network.Network
	trainer  *train.Trainer
	validate *validator
	spent    time.Duration // in steps
	taken    int           // steps of this process
}

// Run trains what the configuration, which has passed Problems, says. When it is interrupted it leaves
// a checkpoint behind.
func Run(ctx context.Context, c Config, p *progress.Progress) (*Result, error) {
	begun := time.Now()
	if err := c.preprocess(); err != nil {
		return nil, err
	}
	j := &job{config: c, progress: p}
	defer j.close()
	for _, step := range []func(context.Context) error{j.folder, j.load, j.build, j.resume, j.train} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r, err := j.publish()
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(begun).Seconds()
	return r, nil
}

func (j *job) close() {
	if j.validate != nil {
		j.validate.close()
	}
	if j.trainer != nil {
		j.trainer.Close()
	}
}

func (j *job) path(name string) string { return filepath.Join(j.config.Output, name) }

// folder makes the output folder. A run that is there already is not overwritten.
func (j *job) folder(context.Context) error {
	if err := os.MkdirAll(j.config.Output, 0o777); err != nil {
		return fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	if j.config.Resume {
		return nil
	}
	for _, name := range []string{checkpointFile, modelFile} {
		if _, err := os.Stat(j.path(name)); err == nil {
			return fmt.Errorf("%w: output: %s is there already; go on with --resume, or name another folder", jobfile.ErrConfig, j.path(name))
		}
	}
	return nil
}

// load reads labels, and the images of the training and the validation split.
func (j *job) load(ctx context.Context) error {
	c := j.config
	images, err := store.Open(ctx, c.Gallery)
	if err != nil {
		return fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	g, err := labelled.Open(ctx, c.Labels, images)
	if err != nil {
		return err
	}
	if g.Splits != nil {
		g = g.Select(append(g.In(labels.Train), g.In(labels.Val)...))
	}
	rows := make([]int, g.Len())
	for i := range rows {
		rows[i] = i
	}
	l := Loader{Images: images, Preprocess: c.Preprocess, Memory: int64(c.Memory), Cores: c.Cores, Fetch: c.Fetch, Reject: c.Reject}
	j.data, err = l.Load(ctx, g, rows, j.progress)
	return err
}

// build makes network, trainer and validator.
func (j *job) build(context.Context) error {
	c := j.config
	net, params, err := c.Network.Build(j.data.Gallery.Names(), j.data.Images.Shape, c.Recipe.Seed)
	if err != nil {
		return err
	}
	if c.Train == "modulation" {
		zoo.FreezeBackbone(net)
		net.Freeze(params)
	}
	set, err := j.data.Dataset(c.Recipe)
	if err != nil {
		return err
	}
	j.net = net
	if j.trainer, err = train.New(net, params, set, c.Recipe, c.Threads); err != nil {
		return err
	}
	j.validate, err = newValidator(j.data, net, j.trainer.Averaged(), c)
	return err
}

// resume goes on from the checkpoint, if there is one.
func (j *job) resume(context.Context) error {
	if !j.config.Resume {
		return nil
	}
	state, err := os.ReadFile(j.path(checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was stopped before the first one
	}
	if err == nil {
		err = j.trainer.Restore(state)
	}
	if err != nil {
		return fmt.Errorf("%w: resume from %s: %w", jobfile.ErrConfig, j.path(checkpointFile), err)
	}
	done, all := j.trainer.Steps()
	j.progress.Log().Info("resume", "step", done, "of", all)
	return nil
}

// train takes the steps that are left.
func (j *job) train(ctx context.Context) error {
	done, all := j.trainer.Steps()
	draws := int64(j.config.Recipe.Batch.Rows * len(j.net.Tasks))
	j.progress.Start("train", int64(all-done)*draws)
	for step := done + 1; step <= all; step++ {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), j.checkpoint())
		}
		begun := time.Now()
		if _, err := j.trainer.Step(); err != nil {
			return err
		}
		j.spent += time.Since(begun)
		j.taken++
		j.progress.Add(progress.Count{Items: draws})
		if e := j.config.Validate.Every; step == all || e > 0 && step%e == 0 {
			if err := j.measure(step); err != nil {
				return err
			}
		}
		if step == all || step%j.config.Checkpoint == 0 {
			if err := j.checkpoint(); err != nil {
				return err
			}
		}
	}
	j.progress.Finish()
	return nil
}

// measure notes the validation accuracy of the averaged parameters.
func (j *job) measure(step int) error {
	acc, err := j.validate.accuracy()
	if err != nil {
		return err
	}
	j.trainer.Note(acc)
	attrs := []any{"step", step}
	for i, task := range j.net.Tasks {
		if acc[i] != unmeasured {
			attrs = append(attrs, task, fmt.Sprintf("%.4f", acc[i]))
		}
	}
	j.progress.Log().Info("triplets right", attrs...)
	return nil
}

// checkpoint saves the state and draws the curves.
func (j *job) checkpoint() error {
	state, err := j.trainer.Encode()
	if err != nil {
		return err
	}
	if err := replace(j.path(checkpointFile), state); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return j.curves()
}

// publish writes the model, which is the last thing that appears.
func (j *job) publish() (*Result, error) {
	steps, _ := j.trainer.Steps()
	made := Provenance{
		Network: j.config.Network, Trained: j.config.Train, Steps: steps, Draws: j.trainer.Draws(), Images: len(j.data.In(labels.Train)),
		Threads: j.config.Threads, Accuracy: j.lastValidation(), Facet: version(), Run: j.trainer.Run(),
	}
	doc, err := json.Marshal(made)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	m, err := exchange.Export(j.net, j.trainer.Averaged(), exchange.Options{
		Preprocess: j.config.Preprocess, Metadata: map[string]string{MadeByKey: string(doc)},
	})
	if err != nil {
		return nil, err
	}
	file, err := onnx.Write(m)
	if err != nil {
		return nil, err
	}
	if err := replace(j.path(modelFile), file); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return j.result(file), nil
}

// version is the module's version as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// WriteTable prints a result for people.
func (r *Result) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d steps, %d draws, %.2f M parameters; %.0f images/s\n", r.Model, r.Steps, r.Draws, float64(r.Parameters)/1e6, r.PerSecond)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "task\ttriplets right\tloss\tdead scales\town parameters\t")
	for _, x := range r.Tasks {
		acc := "no triplets"
		if x.Accuracy != unmeasured {
			acc = fmt.Sprintf("%.4f", x.Accuracy)
		}
		fmt.Fprintf(t, "%s\t%s\t%.4f\t%d of %d\t%d\t\n", x.Task, acc, x.Loss, x.DeadScales, x.Scales, x.Parameters)
	}
	return t.Flush()
}
