package compare

import (
	"context"
	"fmt"
	"time"

	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/stages/engine"
)

// rounds is how often each model is timed; the best counts, since everything else that a machine does
// only slows it down.
const rounds = 15

// speeds times one model of each method in ONNX Runtime on one thread, in turns, and returns images a
// second: of the file as it was trained, or folded, whichever is faster.
func speeds(ctx context.Context, f folder, methods []zoo.Method, seed uint64) (map[zoo.Method]float64, error) {
	var all []timed
	for _, m := range methods {
		file, err := f.model(trial{m, seed})
		if err != nil {
			return nil, err
		}
		folded, err := modulation.Fold(file, 0)
		if err != nil {
			return nil, fmt.Errorf("model of %s: %w", m, err)
		}
		for _, variant := range [][]byte{file, folded} {
			e, r, err := openRunner(variant)
			if err != nil {
				return nil, fmt.Errorf("model of %s: %w", m, err)
			}
			defer e.Close()
			defer r.Close()
			all = append(all, timed{m, r})
		}
	}
	return inTurns(ctx, all)
}

// timed is a model of a method, ready to run.
type timed struct {
	method zoo.Method
	runner engine.Runner
}

// inTurns runs all models once a round. The first round allocates and does not count.
func inTurns(ctx context.Context, all []timed) (map[zoo.Method]float64, error) {
	best := map[zoo.Method]float64{}
	for round := range rounds {
		for _, t := range all {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			begun := time.Now()
			if err := t.runner.Run(embedBatch); err != nil {
				return nil, fmt.Errorf("time %s: %w", t.method, err)
			}
			if round > 0 {
				best[t.method] = max(best[t.method], embedBatch/time.Since(begun).Seconds())
			}
		}
	}
	return best, nil
}

func openRunner(file []byte) (engine.Engine, engine.Runner, error) {
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		return nil, nil, err
	}
	e, err := network.Open("onnxruntime", file, m, m.Tasks)
	if err != nil {
		return nil, nil, err
	}
	r, err := e.NewRunner(embedBatch)
	if err != nil {
		e.Close()
		return nil, nil, err
	}
	return e, r, nil
}
