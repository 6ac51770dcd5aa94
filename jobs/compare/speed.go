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
// second.
func speeds(ctx context.Context, f folder, methods []zoo.Method, seed uint64) (map[zoo.Method]float64, error) {
	var runners []engine.Runner
	for _, m := range methods {
		file, err := f.model(trial{m, seed})
		if err != nil {
			return nil, err
		}
		e, r, err := openRunner(file)
		if err != nil {
			return nil, fmt.Errorf("model of %s: %w", m, err)
		}
		defer e.Close()
		defer r.Close()
		runners = append(runners, r)
	}
	best := map[zoo.Method]float64{}
	for round := range rounds {
		for i, r := range runners {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			begun := time.Now()
			if err := r.Run(embedBatch); err != nil {
				return nil, fmt.Errorf("time %s: %w", methods[i], err)
			}
			if round > 0 { // the first one allocates
				best[methods[i]] = max(best[methods[i]], embedBatch/time.Since(begun).Seconds())
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
