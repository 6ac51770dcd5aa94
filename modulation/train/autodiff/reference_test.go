package autodiff

import (
	"math"

	"github.com/facet-search/facet/modulation/train/network"
)

// reference computes networks in float64, in the plainest way, as what oneDNN is held against.
type reference struct {
	net     *network.Network
	params  *network.Params
	values  map[string][]float64 // of parameters, by name
	images  []float64            // [rows, C, H, W]
	perTask int                  // rows of each task
}

func newReference(net *network.Network, params *network.Params, images []float32, perTask int) *reference {
	r := &reference{net: net, params: params, values: map[string][]float64{}, images: widen(images), perTask: perTask}
	for _, p := range params.List {
		r.values[p.Name] = widen(p.Data)
	}
	return r
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// activations are the values of one tensor, one row an image.
type activations struct {
	shape network.Shape
	rows  [][]float64
}

func (r *reference) blank(s network.Shape, n int) activations {
	a := activations{shape: s, rows: make([][]float64, n)}
	for i := range a.rows {
		a.rows[i] = make([]float64, s.Size())
	}
	return a
}

func (r *reference) of(node string, role network.Role, row int) []float64 {
	p := r.net.Of(r.params, node, role, row/r.perTask)
	if p == nil {
		return nil
	}
	return r.values[p.Name]
}

// forward is the embeddings of all rows, one after another.
func (r *reference) forward() []float64 {
	shapes, err := r.net.Shapes()
	if err != nil {
		panic(err)
	}
	n := r.perTask * len(r.net.Tasks)
	x := r.blank(r.net.Image, n)
	for i := range x.rows {
		copy(x.rows[i], r.images[i*r.net.Image.Size():])
	}
	tensors := map[string]activations{network.Input: x}
	for _, node := range r.net.Nodes {
		y := r.blank(shapes[node.Name], n)
		in := tensors[node.Inputs[0]]
		if bn, ok := node.Op.(network.BatchNorm); ok {
			r.batchNorm(node, bn, in, y)
		} else {
			for i := range y.rows {
				r.row(node, i, tensors, in, y)
			}
		}
		tensors[node.Name] = y
	}
	var out []float64
	for _, row := range tensors[r.net.Output()].rows {
		out = append(out, row...)
	}
	return out
}

// row computes an operation that treats images one by one.
func (r *reference) row(node network.Node, i int, tensors map[string]activations, in, out activations) {
	x, y := in.rows[i], out.rows[i]
	switch op := node.Op.(type) {
	case network.Conv:
		r.conv(op, in.shape, out.shape, x, y, r.of(node.Name, network.Weight, i), r.of(node.Name, network.Bias, i))
	case network.Dense:
		w, b := r.of(node.Name, network.Weight, i), r.of(node.Name, network.Bias, i)
		for o := range y {
			for k, v := range x {
				y[o] += w[o*len(x)+k] * v
			}
			if b != nil {
				y[o] += b[o]
			}
		}
	case network.Modulation:
		s, area := r.of(node.Name, network.Scale, i), len(x)/in.shape[0]
		for k, v := range x {
			y[k] = v * max(s[k/area], 0)
		}
	case network.ReLU:
		for k, v := range x {
			y[k] = max(v, 0)
			if op.Top > 0 {
				y[k] = min(y[k], op.Top)
			}
		}
	case network.MaxPool:
		pool(op.Window, in.shape, out.shape, x, y, func(v []float64, _ int) float64 {
			best := math.Inf(-1)
			for _, u := range v {
				best = max(best, u)
			}
			return best
		})
	case network.AvgPool:
		pool(op.Window, in.shape, out.shape, x, y, func(v []float64, area int) float64 {
			if !op.CountPads {
				area = len(v)
			}
			return total(v) / float64(area)
		})
	case network.GlobalAvgPool:
		area := len(x) / len(y)
		for c := range y {
			y[c] = total(x[c*area:(c+1)*area]) / float64(area)
		}
	case network.Add:
		for k, v := range tensors[node.Inputs[1]].rows[i] {
			y[k] = x[k] + v
		}
	case network.Flatten:
		copy(y, x)
	case network.Normalize:
		norm := 0.0
		for _, v := range x {
			norm += v * v
		}
		for k, v := range x {
			y[k] = v / math.Sqrt(norm)
		}
	default:
		panic(op)
	}
}

func (r *reference) conv(op network.Conv, in, out network.Shape, x, y, w, b []float64) {
	groups, stride := max(op.Groups, 1), op.Strides()
	inputs, outputs := in[0]/groups, out[0]/groups
	for o := range out[0] {
		for at := range out[1] * out[2] {
			top, left := at/out[2]*stride[0]-op.Pads[0], at%out[2]*stride[1]-op.Pads[1]
			sum := 0.0
			for k := range inputs * op.Kernel[0] * op.Kernel[1] {
				i, kh, kw := k/(op.Kernel[0]*op.Kernel[1]), k/op.Kernel[1]%op.Kernel[0], k%op.Kernel[1]
				h, v := top+kh, left+kw
				if h >= 0 && v >= 0 && h < in[1] && v < in[2] {
					sum += w[o*inputs*op.Kernel[0]*op.Kernel[1]+k] * x[((o/outputs*inputs+i)*in[1]+h)*in[2]+v]
				}
			}
			if b != nil {
				sum += b[o]
			}
			y[o*out[1]*out[2]+at] = sum
		}
	}
}

func pool(w network.Window, in, out network.Shape, x, y []float64, of func(inside []float64, area int) float64) {
	stride := w.Strides()
	for i := range y {
		c, h0, w0 := i/(out[1]*out[2]), i/out[2]%out[1]*stride[0]-w.Pads[0], i%out[2]*stride[1]-w.Pads[1]
		var inside []float64
		for h := max(h0, 0); h < min(h0+w.Kernel[0], in[1]); h++ {
			for v := max(w0, 0); v < min(w0+w.Kernel[1], in[2]); v++ {
				inside = append(inside, x[(c*in[1]+h)*in[2]+v])
			}
		}
		y[i] = of(inside, w.Kernel[0]*w.Kernel[1])
	}
}

func total(v []float64) (sum float64) {
	for _, u := range v {
		sum += u
	}
	return sum
}

func (r *reference) batchNorm(node network.Node, op network.BatchNorm, in, out activations) {
	groups := 1
	if node.PerTask || op.TaskStatistics {
		groups = len(r.net.Tasks)
	}
	n, area := len(in.rows)/groups, in.shape[1]*in.shape[2]
	for lo := 0; lo < len(in.rows); lo += n {
		gain, shift := r.of(node.Name, network.Gain, lo), r.of(node.Name, network.Shift, lo)
		for c := range in.shape[0] {
			var all []float64
			for _, row := range in.rows[lo : lo+n] {
				all = append(all, row[c*area:(c+1)*area]...)
			}
			mean, variance := moments(all)
			if node.Frozen {
				mean, variance = r.of(node.Name, network.RunningMean, lo)[c], r.of(node.Name, network.RunningVar, lo)[c]
			}
			for i := lo; i < lo+n; i++ {
				for k := c * area; k < (c+1)*area; k++ {
					out.rows[i][k] = (in.rows[i][k]-mean)/math.Sqrt(variance+op.Epsilon())*gain[c] + shift[c]
				}
			}
		}
	}
}

// moments are the mean and the biased variance.
func moments(v []float64) (mean, variance float64) {
	mean = total(v) / float64(len(v))
	for _, u := range v {
		variance += (u - mean) * (u - mean)
	}
	return mean, variance / float64(len(v))
}
