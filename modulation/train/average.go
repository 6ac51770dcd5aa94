package train

import "github.com/facet-search/facet/modulation/train/network"

// averageDecay is how much of the average a step keeps: less in the beginning, so that a short run's
// average does not remember the random weights that it started from.
func averageDecay(decay float64, step int) float32 {
	return float32(min(decay, float64(1+step)/float64(10+step)))
}

// follow moves the averages towards the parameters, running statistics included: these belong to the
// weights that they were taken under.
func follow(average, params *network.Params, decay float32) {
	for i, p := range params.List {
		if p.Frozen && p.Role.Learned() {
			continue
		}
		a := average.List[i].Data
		for k, v := range p.Data {
			a[k] += (1 - decay) * (v - a[k])
		}
	}
}
