package compare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/facet-search/facet/jobs/evaluate"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
)

// trial is one run to make.
type trial struct {
	method zoo.Method
	seed   uint64
}

func (t trial) String() string { return fmt.Sprintf("%s-%d", t.method, t.seed) }

// Finished is what one method came to with one seed. It is kept in the output's folder.
type Finished struct {
	Method      zoo.Method            `json:"method"`
	Seed        uint64                `json:"seed"`
	Fingerprint string                `json:"fingerprint"` // of all that it depends on
	Tasks       []evaluate.TaskResult `json:"tasks"`
	Size        Size                  `json:"size"`
	UCR         []LayerCompliance     `json:"update_compliance"`
	Draws       int                   `json:"draws"` // images trained on, counted as often as drawn
	Loss        float64               `json:"loss"`  // mean over the tasks and the last steps
	Seconds     float64               `json:"seconds"`
}

// Size is what a network takes.
type Size struct {
	Parameters int `json:"parameters"`      // in all
	Own        int `json:"task_parameters"` // of them, those that belong to one task
	// Bytes of the embeddings of one image, float32: one where all tasks have the same.
	Bytes int `json:"embedding_bytes"`
	MACs  int `json:"macs"` // an image, all tasks
}

// LayerCompliance is the update compliance ratio of a layer that tasks share, the mean over the pairs of
// tasks: the share of batches in which their gradients agree, and of the weights where they do in sign.
type LayerCompliance struct {
	Layer   string  `json:"layer"`
	Batches float64 `json:"batches"`
	Signs   float64 `json:"signs"`
}

const (
	// report and checkpoint are the times between lines of the log, and between saved states.
	report     = 30 * time.Second
	checkpoint = 2 * time.Minute
	// lastSteps is how many steps the reported loss is the mean of.
	lastSteps = 100
)

// stage makes runs; several at once, each on one thread.
type stage struct {
	config   Config
	data     *data
	folder   folder
	progress *progress.Progress
}

// Process implements pipeline.Stage: it reads a finished run, or goes on with one, or makes it.
func (s *stage) Process(ctx context.Context, t trial) (*Finished, error) {
	print, err := s.fingerprint(t)
	if err != nil {
		return nil, err
	}
	if r, ok, err := s.folder.finished(t, print); ok || err != nil {
		s.progress.Log().Info("kept", "run", t.String())
		s.progress.Add(progress.Count{Items: int64(s.config.Recipe.Steps)})
		return r, err
	}
	r, err := s.make(ctx, t, print)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", t, err)
	}
	return r, nil
}

func (s *stage) make(ctx context.Context, t trial, print string) (*Finished, error) {
	begun := time.Now()
	start := s.config.Network
	start.Method = t.method
	net, params, err := start.Build(s.data.gallery.Names(), s.config.shape(), t.seed)
	if err != nil {
		return nil, err
	}
	recipe := s.config.Recipe
	recipe.Seed = t.seed
	trainer, err := train.New(net, params, s.data.dataset, recipe, 1)
	if err != nil {
		return nil, err
	}
	defer trainer.Close()
	if err := s.train(ctx, t, trainer); err != nil {
		return nil, err
	}
	r := &Finished{Method: t.method, Seed: t.seed, Fingerprint: print, UCR: layers(trainer.Compliance()), Draws: trainer.Draws(), Loss: lastLoss(trainer.Curve())}
	if r.Size, err = sizeOf(net, params); err != nil {
		return nil, err
	}
	model, err := export(s.config, net, trainer.Averaged(), t)
	if err != nil {
		return nil, err
	}
	if r.Tasks, err = s.measure(ctx, model); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(begun).Seconds()
	s.progress.Log().Info("finished", "run", t.String(), "triplet_accuracy", fmt.Sprintf("%.4f", mean(r.Tasks, tripletAccuracy)), "seconds", int(r.Seconds))
	return r, s.folder.keep(t, r, model)
}

// train takes the steps that are left, and saves the state now and then and when it is interrupted.
func (s *stage) train(ctx context.Context, t trial, trainer *train.Trainer) error {
	if err := s.resume(t, trainer); err != nil {
		return err
	}
	first, all := trainer.Steps()
	s.progress.Add(progress.Count{Items: int64(first)})
	begun, said, saved := time.Now(), time.Now(), time.Now()
	for done := first; done < all; done++ {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), s.save(t, trainer))
		}
		if _, err := trainer.Step(); err != nil {
			return err
		}
		s.progress.Add(progress.Count{Items: 1})
		if time.Since(said) > report {
			said = time.Now()
			rate := float64(done+1-first) / time.Since(begun).Seconds()
			s.progress.Log().Info("training", "run", t.String(), "step", done+1, "of", all, "loss", fmt.Sprintf("%.4f", lastLoss(trainer.Curve())),
				"steps_per_second", fmt.Sprintf("%.2f", rate), "eta", time.Duration(float64(all-done-1)/rate*float64(time.Second)).Round(time.Second).String())
		}
		if time.Since(saved) > checkpoint {
			saved = time.Now()
			if err := s.save(t, trainer); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume puts the trainer where a stopped run of the same kind was.
func (s *stage) resume(t trial, trainer *train.Trainer) error {
	state, err := s.folder.state(t)
	if err != nil || state == nil {
		return err
	}
	if err := trainer.Restore(state); err != nil {
		s.progress.Log().Warn("starts over", "run", t.String(), "why", err.Error())
		return nil
	}
	done, _ := trainer.Steps()
	s.progress.Log().Info("goes on", "run", t.String(), "step", done)
	return nil
}

func (s *stage) save(t trial, trainer *train.Trainer) error {
	state, err := trainer.Encode()
	if err != nil {
		return err
	}
	return s.folder.saveState(t, state)
}

// lastLoss is the mean loss of the last steps.
func lastLoss(curve []train.Point) float64 {
	sum, n := 0.0, 0
	for _, p := range curve[max(0, len(curve)-lastSteps):] {
		for _, l := range p.Loss {
			sum += l
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// layers averages the update compliance over the pairs of tasks.
func layers(c *train.Compliance) (list []LayerCompliance) {
	if c == nil {
		return nil
	}
	pairs := float64(len(c.Tasks)*(len(c.Tasks)-1)) / 2
	for l, name := range c.Layers {
		u := LayerCompliance{Layer: name}
		for j := range c.Tasks {
			for i := range j {
				batches, signs := c.Ratio(l, i, j)
				u.Batches += batches / pairs
				u.Signs += signs / pairs
			}
		}
		list = append(list, u)
	}
	return list
}

func sizeOf(net *network.Network, params *network.Params) (s Size, err error) {
	trunk, tail, err := net.MACs()
	s.Parameters, s.Own = params.Count()
	s.MACs = trunk + len(net.Tasks)*tail
	s.Bytes = 4 * net.Dim()
	if net.Tails()[net.Output()] {
		s.Bytes *= len(net.Tasks)
	}
	return s, err
}

// export is the ONNX file of a run.
func export(c Config, net *network.Network, params *network.Params, t trial) ([]byte, error) {
	m, err := exchange.Export(net, params, exchange.Options{Preprocess: c.Preprocess, Metadata: map[string]string{"facet.compare": t.String()}})
	if err != nil {
		return nil, err
	}
	return onnx.Write(m)
}

// measure evaluates a model as `facet evaluate` does.
func (s *stage) measure(ctx context.Context, file []byte) ([]evaluate.TaskResult, error) {
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		return nil, err
	}
	rows, err := s.config.Measure.Rows(s.data.gallery)
	if err != nil {
		return nil, err
	}
	e := evaluate.Embedder{
		Images: s.data.images, Model: m, File: file, Tasks: m.Tasks, Engine: "onnxruntime", Batch: embedBatch, Cores: 1, Fetch: embedBatch, Reject: s.config.Reject,
	}
	v, err := e.Embed(ctx, s.data.gallery.Keys, rows.Needed(s.data.gallery), progress.Discard())
	if err != nil {
		return nil, err
	}
	return s.config.Measure.Tasks(ctx, s.data.gallery, rows, v, 1, progress.Discard())
}

// embedBatch is the number of images a run of the model.
const embedBatch = 8
