package train

import "github.com/facet-search/facet/modulation/train/network"

// Compliance is the Update Compliance Ratio of layers that tasks share, by our definition: over
// mini-batches, the share in which the gradients of two tasks' losses agree, ⟨g_i, g_j⟩ > 0; and,
// element by element, the share of weights whose two gradients agree in sign, among those where
// neither is 0.
type Compliance struct {
	Tasks   []string `json:"tasks"`
	Layers  []string `json:"layers"`  // nodes with weights that all tasks share, in the network's order
	Batches int      `json:"batches"` // that were counted
	// Agree is the number of batches, Signs the sum of shares, of each layer and pair (see Pair).
	Agree [][]int     `json:"agree"`
	Signs [][]float64 `json:"signs"`

	params []*network.Param
	grads  [][][]float32 // [task][layer]
}

func newCompliance(net *network.Network, params *network.Params) *Compliance {
	c := &Compliance{Tasks: net.Tasks}
	for _, p := range params.List {
		if p.Role == network.Weight && p.Task == network.Shared && !p.Frozen {
			c.params, c.Layers = append(c.params, p), append(c.Layers, p.Node)
		}
	}
	pairs := len(c.Tasks) * (len(c.Tasks) - 1) / 2
	for range c.Layers {
		c.Agree, c.Signs = append(c.Agree, make([]int, pairs)), append(c.Signs, make([]float64, pairs))
	}
	for range c.Tasks {
		g := make([][]float32, len(c.Layers))
		for l, p := range c.params {
			g[l] = make([]float32, len(p.Data))
		}
		c.grads = append(c.grads, g)
	}
	return c
}

// Pair is the index of a pair of tasks i < j: (0,1), (0,2), (1,2), (0,3), …
func Pair(i, j int) int { return j*(j-1)/2 + i }

// Ratio is the share of batches in which tasks i < j agree about a layer, and the mean share of its
// weights; 0 before the first batch.
func (c *Compliance) Ratio(layer, i, j int) (batches, signs float64) {
	n := float64(max(c.Batches, 1))
	return float64(c.Agree[layer][Pair(i, j)]) / n, c.Signs[layer][Pair(i, j)] / n
}

// note keeps the gradients of one task's loss.
func (c *Compliance) note(task int, grad func(*network.Param) []float32) {
	for l, p := range c.params {
		copy(c.grads[task][l], grad(p))
	}
}

// compare counts one batch.
func (c *Compliance) compare() {
	c.Batches++
	for l := range c.Layers {
		for j := range c.Tasks {
			for i := range j {
				dot, share := agreement(c.grads[i][l], c.grads[j][l])
				if dot > 0 {
					c.Agree[l][Pair(i, j)]++
				}
				c.Signs[l][Pair(i, j)] += share
			}
		}
	}
}

// agreement is the inner product of two gradients and the share of elements of one sign.
func agreement(a, b []float32) (dot, share float64) {
	same, all := 0, 0
	for i, x := range a {
		v := float64(x) * float64(b[i])
		dot += v
		if x == 0 || b[i] == 0 {
			continue
		}
		all++
		if v > 0 {
			same++
		}
	}
	return dot, float64(same) / float64(max(all, 1))
}
