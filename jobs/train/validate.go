package train

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/facet-search/facet/modulation/metrics"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/labels"
)

// unmeasured stands for the accuracy of a task without triplets.
const unmeasured = -1

// validateBatch is how many images are embedded at a time.
const validateBatch = 64

// validator measures the accuracy of triplets of the validation split.
type validator struct {
	embedder *train.Embedder // nil without a triplet
	net      *network.Network
	list     []int32
	triplets [][]metrics.Triplet
}

func newValidator(d *Data, net *network.Network, params *network.Params, c Config) (*validator, error) {
	rows := d.In(labels.Val)
	v := &validator{net: net, triplets: d.Triplets(rows, c.Validate.Triplets, c.Validate.Seed)}
	for _, r := range rows {
		v.list = append(v.list, int32(r))
	}
	if !slices.ContainsFunc(v.triplets, func(l []metrics.Triplet) bool { return len(l) > 0 }) {
		return v, nil
	}
	var err error
	v.embedder, err = train.NewEmbedder(net, params, d.Images, validateBatch, c.Threads)
	return v, err
}

func (v *validator) close() {
	if v.embedder != nil {
		v.embedder.Close()
	}
}

// accuracy is one number a task.
func (v *validator) accuracy() ([]float64, error) {
	acc := make([]float64, len(v.triplets))
	for i := range acc {
		acc[i] = unmeasured
	}
	if v.embedder == nil {
		return acc, nil
	}
	vectors, err := v.embedder.Embed(v.list)
	if err != nil {
		return nil, err
	}
	for i, list := range v.triplets {
		if len(list) > 0 {
			acc[i] = metrics.TripletAccuracy(metrics.Space{Dim: v.net.Dim(), Metric: pipeline.L2, Data: vectors[i]}, list)
		}
	}
	return acc, nil
}

// lastValidation is the newest measurement; nil before the first.
func (j *job) lastValidation() []float64 {
	for _, p := range slices.Backward(j.trainer.Curve()) {
		if p.Validation != nil {
			return p.Validation
		}
	}
	return nil
}

func (j *job) result(file []byte) *Result {
	sum := sha256.Sum256(file)
	steps, _ := j.trainer.Steps()
	params := j.trainer.Averaged()
	r := &Result{Model: j.path(modelFile), SHA256: hex.EncodeToString(sum[:]), Steps: steps, Draws: j.trainer.Draws()}
	var own int
	r.Parameters, own = params.Count()
	if s := j.spent.Seconds(); s > 0 {
		r.PerSecond = float64(j.taken*j.config.Recipe.Batch.Rows*len(j.net.Tasks)) / s
	}
	acc, curve := j.lastValidation(), j.trainer.Curve()
	last := curve[len(curve)-max(len(curve)/10, 1):]
	for i, task := range j.net.Tasks {
		t := TaskResult{Task: task, Accuracy: unmeasured, Parameters: own}
		if acc != nil {
			t.Accuracy = acc[i]
		}
		for _, p := range last {
			t.Loss += p.Loss[i] / float64(len(last))
		}
		t.DeadScales, t.Scales = params.DeadScales(i)
		r.Tasks = append(r.Tasks, t)
	}
	return r
}
