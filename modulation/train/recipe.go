package train

import (
	"errors"
	"fmt"
)

// Recipe is how a network is trained. Its JSON form is part of what a state is told apart by.
type Recipe struct {
	Seed      uint64    `json:"seed" yaml:"seed"`
	Steps     int       `json:"steps" yaml:"steps"`
	Loss      LossKind  `json:"loss" yaml:"loss"`
	Margin    float64   `json:"margin" yaml:"margin"`
	Batch     Batching  `json:"batch" yaml:"batch"`
	Augment   Augment   `json:"augment" yaml:"augment"`
	Optimizer Optimizer `json:"optimizer" yaml:"optimizer"`
	Schedule  Schedule  `json:"schedule" yaml:"schedule"`
	Average   float64   `json:"average" yaml:"average"` // decay of the averaged parameters; 0 for none
	// Compliance is the number of steps from one count of update compliance to the next; 0 for never.
	Compliance int `json:"compliance" yaml:"compliance"`
}

// Paper is the recipe of the paper's authors, for the given number of steps.
func Paper(steps int) Recipe {
	return Recipe{
		Seed: 1, Steps: steps, Loss: Triplet, Margin: 0.2,
		Batch:     Batching{Rows: 48, Group: 4, Balance: 1},
		Optimizer: Optimizer{Kind: Adagrad, Momentum: 0.9},
		Schedule:  Schedule{Kind: Step, Rate: 0.01, Every: 0.4, Factor: 0.1},
		Average:   0.9999, Compliance: 50,
	}
}

// Frugal is a recipe for few draws: one batch for all tasks, so that an image teaches every task that it
// has a label of, and negatives are mined among all of it.
func Frugal(steps int) Recipe {
	return Recipe{
		Seed: 1, Steps: steps, Loss: SemiHard, Margin: 0.2,
		Batch:     Batching{Rows: 16, Group: 4, Balance: 1, Common: true},
		Augment:   Augment{Flip: true},
		Optimizer: Optimizer{Kind: Adam, Momentum: 0.9, Scales: 20},
		Schedule:  Schedule{Kind: Cosine, Rate: 0.002, Warmup: 0.03, Every: 0.4, Factor: 0.1},
		Average:   0.9999, Compliance: 50,
	}
}

// Check reports what is wrong with the recipe, or nil.
func (r Recipe) Check() error {
	errs := []error{r.Loss.check(), r.Batch.check(r.Loss), r.Optimizer.check(), r.Schedule.check()}
	if r.Steps < 1 || r.Steps > 1<<30 {
		errs = append(errs, fmt.Errorf("%d steps", r.Steps))
	}
	if !(r.Margin >= 0 && r.Margin <= 4) {
		errs = append(errs, fmt.Errorf("margin %v: squared distances of unit vectors are 0 to 4", r.Margin))
	}
	if !(r.Average >= 0 && r.Average < 1) {
		errs = append(errs, fmt.Errorf("average with decay %v, want 0 to below 1", r.Average))
	}
	if r.Compliance < 0 || r.Augment.Shift < 0 {
		errs = append(errs, errors.New("negative compliance or shift"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("recipe: %w", err)
	}
	return nil
}
