package train

import (
	"fmt"
	"math"
)

// ScheduleKind names how the learning rate falls.
type ScheduleKind string

// The schedules.
const (
	Constant ScheduleKind = "constant"
	// Step multiplies the rate with Factor after every Every of the run: the paper's ×0.1 after 40 of
	// 100 epochs is an Every of 0.4.
	Step ScheduleKind = "step"
	// Cosine falls from the rate to 0 along half a cosine (Loshchilov & Hutter 2017).
	Cosine ScheduleKind = "cosine"
)

// Schedule is the learning rate over a run.
type Schedule struct {
	Kind   ScheduleKind `json:"kind" yaml:"kind"`
	Rate   float64      `json:"rate" yaml:"rate"`     // the highest
	Warmup float64      `json:"warmup" yaml:"warmup"` // share of the run in which the rate rises from 0
	Every  float64      `json:"every" yaml:"every"`   // Step: share of the run
	Factor float64      `json:"factor" yaml:"factor"` // Step
}

func (s Schedule) check() error {
	switch {
	case s.Kind != Constant && s.Kind != Step && s.Kind != Cosine:
		return fmt.Errorf("schedule %q: want %s, %s or %s", s.Kind, Constant, Step, Cosine)
	case !(s.Rate > 0 && s.Rate <= 1e3):
		return fmt.Errorf("schedule: rate %v, want above 0", s.Rate)
	case !(s.Warmup >= 0 && s.Warmup < 1):
		return fmt.Errorf("schedule: warm-up %v, want a share of the run", s.Warmup)
	case s.Kind == Step && !(s.Every > 0 && s.Factor > 0 && s.Factor <= 1):
		return fmt.Errorf("schedule: every %v by factor %v, want a share of the run and a factor up to 1", s.Every, s.Factor)
	}
	return nil
}

// At is the rate of a step, counted from 0, of a run of steps.
func (s Schedule) At(step, steps int) float64 {
	done := float64(step) / float64(max(steps, 1))
	if done < s.Warmup {
		return s.Rate * float64(step+1) / (s.Warmup*float64(steps) + 1)
	}
	switch s.Kind {
	case Step:
		return s.Rate * math.Pow(s.Factor, math.Floor(done/s.Every))
	case Cosine:
		return s.Rate * (1 + math.Cos(math.Pi*(done-s.Warmup)/(1-s.Warmup))) / 2
	}
	return s.Rate
}
