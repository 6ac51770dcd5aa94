package train

import (
	"fmt"
	"math"

	"github.com/facet-search/facet/modulation/train/network"
)

// OptimizerKind names an optimiser.
type OptimizerKind string

// The optimisers.
const (
	Adagrad OptimizerKind = "adagrad" // Duchi et al. 2011; the paper's
	Adam    OptimizerKind = "adam"    // Kingma & Ba 2015, with decoupled decay (Loshchilov & Hutter 2019)
	SGD     OptimizerKind = "sgd"     // with momentum
)

// Optimizer moves parameters against their gradients.
type Optimizer struct {
	Kind     OptimizerKind `json:"kind" yaml:"kind"`
	Momentum float64       `json:"momentum" yaml:"momentum"`         // SGD's
	Decay    float64       `json:"weight_decay" yaml:"weight_decay"` // of convolutions' and dense layers' weights; 0 for none
	// Scales is a factor on the rate of modulations' scales; 0 means 1. Adam moves a value by about the
	// rate a step, so within some hundred steps scales can't get far from 1 at the weights' rate, and
	// tasks stay as good as shared; far above it, they die before they have learned.
	Scales float64 `json:"scales_faster" yaml:"scales_faster"`
}

const (
	adamBeta1, adamBeta2 = 0.9, 0.999
	adamEps              = 1e-8
	adagradEps           = 1e-10
)

func (o Optimizer) check() error {
	switch {
	case o.slots() == 0:
		return fmt.Errorf("optimizer %q: want %s, %s or %s", o.Kind, Adagrad, Adam, SGD)
	case !(o.Momentum >= 0 && o.Momentum < 1):
		return fmt.Errorf("optimizer: momentum %v, want 0 to below 1", o.Momentum)
	case !(o.Decay >= 0 && o.Decay < 1):
		return fmt.Errorf("optimizer: weight decay %v, want 0 to below 1", o.Decay)
	case !(o.Scales >= 0 && o.Scales <= 1e4):
		return fmt.Errorf("optimizer: scales %v times faster, want up to 10000", o.Scales)
	}
	return nil
}

// slots is how many values the optimiser keeps for each parameter's value.
func (o Optimizer) slots() int {
	switch o.Kind {
	case Adagrad, SGD:
		return 1
	case Adam:
		return 2
	}
	return 0
}

// memory allocates what the optimiser keeps for a parameter: slots of the parameter's size.
func (o Optimizer) memory(p *network.Param) [][]float32 {
	if p.Frozen || !p.Role.Learned() {
		return nil
	}
	m := make([][]float32, o.slots())
	for i := range m {
		m[i] = make([]float32, len(p.Data))
	}
	return m
}

// update moves one parameter in step number step, counted from 1.
func (o Optimizer) update(p *network.Param, grad []float32, memory [][]float32, rate float64, step int) {
	decay := 0.0
	if p.Role == network.Weight {
		decay = o.Decay
	}
	if p.Role == network.Scale && o.Scales != 0 {
		rate *= o.Scales
	}
	switch o.Kind {
	case Adagrad:
		adagrad(p.Data, grad, memory[0], float32(rate), float32(decay))
	case SGD:
		sgd(p.Data, grad, memory[0], float32(rate), float32(decay), float32(o.Momentum))
	case Adam:
		adam(p.Data, grad, memory[0], memory[1], rate, decay, step)
	}
}

func adagrad(w, grad, sum []float32, rate, decay float32) {
	for i, g := range grad {
		g += decay * w[i]
		sum[i] += g * g
		w[i] -= rate * g / (float32(math.Sqrt(float64(sum[i]))) + adagradEps)
	}
}

func sgd(w, grad, velocity []float32, rate, decay, momentum float32) {
	for i, g := range grad {
		velocity[i] = momentum*velocity[i] + g + decay*w[i]
		w[i] -= rate * velocity[i]
	}
}

func adam(w, grad, mean, square []float32, rate, decay float64, step int) {
	first := 1 - math.Pow(adamBeta1, float64(step))
	second := 1 - math.Pow(adamBeta2, float64(step))
	size, root := float32(rate/first), float32(1/math.Sqrt(second))
	keep := float32(1 - rate*decay)
	for i, g := range grad {
		mean[i] += (1 - adamBeta1) * (g - mean[i])
		square[i] += (1 - adamBeta2) * (g*g - square[i])
		w[i] = w[i]*keep - size*mean[i]/(float32(math.Sqrt(float64(square[i])))*root+adamEps)
	}
}
