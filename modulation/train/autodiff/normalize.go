package autodiff

import "math"

// shortest is the length below which a vector is divided by this instead, as in PyTorch's normalize.
const shortest = 1e-12

// Normalize divides each vector of x [n, dim] by its Euclidean length.
func Normalize(y, x []float32, dim int) {
	for lo := 0; lo < len(x); lo += dim {
		scale := 1 / length(x[lo:lo+dim])
		for i := lo; i < lo+dim; i++ {
			y[i] = float32(float64(x[i]) * scale)
		}
	}
}

// NormalizeBackward computes dx = (dy − y·⟨y,dy⟩)/|x| for each vector, with y = x/|x|.
func NormalizeBackward(dx, x, y, dy []float32, dim int) {
	for lo := 0; lo < len(x); lo += dim {
		hi := lo + dim
		norm := length(x[lo:hi])
		along := 0.0
		if norm > shortest { // otherwise the divisor is constant
			for i := lo; i < hi; i++ {
				along += float64(y[i]) * float64(dy[i])
			}
		}
		for i := lo; i < hi; i++ {
			dx[i] = float32((float64(dy[i]) - float64(y[i])*along) / norm)
		}
	}
}

func length(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return max(math.Sqrt(sum), shortest)
}
