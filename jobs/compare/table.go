package compare

import (
	"math"

	"github.com/facet-search/facet/jobs/evaluate"
	"github.com/facet-search/facet/modulation/train/zoo"
)

// Comparison is the table, and the runs that it sums up.
type Comparison struct {
	Seeds   []uint64         `json:"seeds"`
	Steps   int              `json:"steps"`
	Measure evaluate.Measure `json:"measure"`
	Methods []Summary        `json:"methods"`
	Runs    []*Finished      `json:"runs"`
	Seconds float64          `json:"seconds"` // of this call
}

// Summary is one method's row.
type Summary struct {
	Method          zoo.Method        `json:"method"`
	Mean            TaskSummary       `json:"mean"` // over the tasks
	Tasks           []TaskSummary     `json:"tasks"`
	Size            Size              `json:"size"`
	ImagesPerSecond float64           `json:"images_per_second"` // of the model, one thread, all tasks
	UCR             []LayerCompliance `json:"update_compliance"` // mean over the seeds
	Draws           int               `json:"draws"`             // images a run was trained on
}

// TaskSummary is what a method's runs have in common.
type TaskSummary struct {
	Task            string `json:"task"`
	TripletAccuracy Spread `json:"triplet_accuracy"`
	Recall1         Spread `json:"recall@1"`
	Recall10        Spread `json:"recall@10"`
	MAP             Spread `json:"map"`
}

// Spread is a mean over seeds and their standard deviation (of a sample: n−1), null for one seed.
type Spread struct {
	Mean      evaluate.Figure `json:"mean"`
	Deviation evaluate.Figure `json:"deviation"`
}

// The figures of a task.
func tripletAccuracy(t evaluate.TaskResult) float64 { return float64(t.TripletAccuracy) }
func recall1(t evaluate.TaskResult) float64         { return float64(t.Recall1) }
func recall10(t evaluate.TaskResult) float64        { return float64(t.Recall10) }
func precision(t evaluate.TaskResult) float64       { return float64(t.MAP) }

// mean is a figure's mean over tasks.
func mean(tasks []evaluate.TaskResult, of func(evaluate.TaskResult) float64) float64 {
	sum := 0.0
	for _, t := range tasks {
		sum += of(t)
	}
	return sum / float64(len(tasks))
}

// spreadOf sums up one value a seed.
func spreadOf(values []float64) Spread {
	n := float64(len(values))
	sum, square := 0.0, 0.0
	for _, v := range values {
		sum += v
	}
	for _, v := range values {
		square += (v - sum/n) * (v - sum/n)
	}
	return Spread{evaluate.Figure(sum / n), evaluate.Figure(math.Sqrt(square / (n - 1)))}
}

// summarise groups runs, all of one number and order of tasks, by their method.
func summarise(c Config, runs []*Finished, speed map[zoo.Method]float64) *Comparison {
	out := &Comparison{Seeds: c.Seeds, Steps: c.Recipe.Steps, Measure: c.Measure, Runs: runs}
	for _, m := range c.Methods {
		var of []*Finished
		for _, r := range runs {
			if r.Method == m {
				of = append(of, r)
			}
		}
		s := Summary{Method: m, Size: of[0].Size, Draws: of[0].Draws, ImagesPerSecond: speed[m], UCR: meanCompliance(of)}
		s.Mean = taskSummary(of, "mean", mean)
		for i, t := range of[0].Tasks {
			s.Tasks = append(s.Tasks, taskSummary(of, t.Task, func(tasks []evaluate.TaskResult, f func(evaluate.TaskResult) float64) float64 { return f(tasks[i]) }))
		}
		out.Methods = append(out.Methods, s)
	}
	return out
}

func taskSummary(runs []*Finished, name string, pick func([]evaluate.TaskResult, func(evaluate.TaskResult) float64) float64) TaskSummary {
	of := func(figure func(evaluate.TaskResult) float64) Spread {
		values := make([]float64, len(runs))
		for i, r := range runs {
			values[i] = pick(r.Tasks, figure)
		}
		return spreadOf(values)
	}
	return TaskSummary{Task: name, TripletAccuracy: of(tripletAccuracy), Recall1: of(recall1), Recall10: of(recall10), MAP: of(precision)}
}

// meanCompliance is the mean over runs, which have the same layers.
func meanCompliance(runs []*Finished) []LayerCompliance {
	out := make([]LayerCompliance, len(runs[0].UCR))
	n := float64(len(runs))
	for _, r := range runs {
		for l, u := range r.UCR {
			out[l].Layer = u.Layer
			out[l].Batches += u.Batches / n
			out[l].Signs += u.Signs / n
		}
	}
	return out
}
