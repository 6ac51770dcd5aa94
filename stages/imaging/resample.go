package imaging

import "math"

// filter is a resampling kernel and the radius beyond which it is zero.
type filter struct {
	radius float64
	weight func(x float64) float64
}

// The explicit conversions forbid fused multiply-add, which would round differently on some machines.

var filters = map[string]filter{
	"bilinear": {1, func(x float64) float64 {
		return max(0, 1-math.Abs(x))
	}},
	"bicubic": {2, func(x float64) float64 { // Keys, a = -1/2
		const a = -0.5
		x = math.Abs(x)
		if x < 1 {
			return float64(float64((float64((a+2)*x)-(a+3))*x)*x) + 1
		}
		if x < 2 {
			return (float64((float64((x-5)*x)+8)*x) - 4) * a
		}
		return 0
	}},
}

// precision is the number of fractional bits of a coefficient.
const precision = 22

// axis holds the coefficients of a resize in one direction: output i is the sum over k < count[i] of
// input start[i]+k times coef[i*taps+k] / 2^precision.
type axis struct {
	in, out, taps       int
	start, count, coef  []int32
	split               []int16 // coef in the form the vector kernels want, see native.h
	size, first, filled int     // what the tables were made for
}

// set fills the tables for outputs first … first+out-1 of a resize from in to size, as Pillow's
// precompute_coeffs and normalize_coeffs_8bpc do. An axis serves one filter; its memory is reused.
func (a *axis) set(f filter, in, size, first, out int) {
	if a.filled == out && a.in == in && a.size == size && a.first == first {
		return
	}
	scale := float64(in) / float64(size)
	stretch := max(scale, 1)
	radius := f.radius * stretch
	a.in, a.out, a.size, a.first, a.filled = in, out, size, first, out
	a.taps = min(int(math.Ceil(radius))*2+1, in)
	a.taps = (a.taps + 3) &^ 3
	a.start, a.count = resized(a.start, out), resized(a.count, out)
	a.coef, a.split = resized(a.coef, out*a.taps), resized(a.split, 2*out*a.taps)
	weights := make([]float64, a.taps)
	for i := range out {
		center := float64((float64(first+i) + 0.5) * scale)
		from := max(int(center-radius+0.5), 0)
		to := min(int(center+radius+0.5), in)
		a.start[i], a.count[i] = int32(from), int32(to-from)
		normalize(f, weights[:to-from], from, center, 1/stretch)
		quantize(a.coef[i*a.taps:(i+1)*a.taps], weights[:to-from])
	}
	splitTaps(a.split, a.coef)
}

// normalize fills w with the filter's weights of inputs from, from+1 … around center; their sum becomes 1.
func normalize(f filter, w []float64, from int, center, scale float64) {
	var sum float64
	for i := range w {
		w[i] = f.weight((float64(from+i) - center + 0.5) * scale)
		sum += w[i]
	}
	if sum == 0 {
		return
	}
	for i := range w {
		w[i] /= sum
	}
}

// quantize rounds half away from zero, and clears what is left of coef.
func quantize(coef []int32, w []float64) {
	for i, v := range w {
		coef[i] = int32(float64(v*(1<<precision)) + math.Copysign(0.5, v))
	}
	clear(coef[len(w):])
}

// splitTaps writes, for every four coefficients, their low 15 bits and then the rest of each.
func splitTaps(split []int16, coef []int32) {
	const low = 15
	for i, c := range coef {
		at := i/4*8 + i%4
		split[at], split[at+4] = int16(c&(1<<low-1)), int16(c>>low)
	}
}

// resized returns a slice of length n, s's memory if that suffices.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// resample is the pure-Go twin of the native kernels: horizontal pass, 8 bits, vertical pass. src is
// x.in × y.in RGB pixels; dst's rows are stride bytes apart.
func resample(dst []byte, stride int, src []byte, x, y *axis) {
	first := int(y.start[0])
	last := int(y.start[y.out-1] + y.count[y.out-1])
	rowBytes := x.out * 3
	narrow := make([]byte, (last-first)*rowBytes)
	for r := first; r < last; r++ {
		x.horizontal(narrow[(r-first)*rowBytes:][:rowBytes], src[r*x.in*3:(r+1)*x.in*3])
	}
	for i := range y.out {
		y.vertical(dst[i*stride:][:rowBytes], narrow[(int(y.start[i])-first)*rowBytes:], i)
	}
}

func (a *axis) horizontal(dst, src []byte) {
	for i := range a.out {
		p := src[a.start[i]*3:]
		s0, s1, s2 := int32(1<<(precision-1)), int32(1<<(precision-1)), int32(1<<(precision-1))
		for k, c := range a.coef[i*a.taps:][:a.count[i]] {
			s0 += int32(p[3*k]) * c
			s1 += int32(p[3*k+1]) * c
			s2 += int32(p[3*k+2]) * c
		}
		dst[3*i], dst[3*i+1], dst[3*i+2] = clip8(s0), clip8(s1), clip8(s2)
	}
}

// vertical computes output row i from src, whose first row is start[i].
func (a *axis) vertical(dst, src []byte, i int) {
	for x := range dst {
		s := int32(1 << (precision - 1))
		for k, c := range a.coef[i*a.taps:][:a.count[i]] {
			s += int32(src[k*len(dst)+x]) * c
		}
		dst[x] = clip8(s)
	}
}

func clip8(s int32) byte { return byte(min(max(s>>precision, 0), 255)) }
