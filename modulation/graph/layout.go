package graph

import (
	"errors"
	"fmt"
	"slices"
)

// axis turns ONNX's negative axes into those of a tensor of the given rank.
func axis(a int64, rank int) (int, error) {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		return 0, fmt.Errorf("axis %d does not exist in %d dimensions", a, rank)
	}
	return int(a), nil
}

// axes are the axes that input i or, in older operator sets, the attribute names; ok is false when they
// are not known, and the list is nil when the node names none.
func (c call) axes(i, rank int) (list []int, ok bool) {
	raw := c.n.Ints("axes")
	if c.n.In(i) != "" {
		if raw, ok = c.s.ints(c.n.In(i)); !ok {
			return nil, false
		}
	}
	for _, a := range raw {
		n, err := axis(a, rank)
		if err != nil || slices.Contains(list, n) {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}

var errAxes = errors.New("its axes are not known or do not fit")

func flatten(c call) (Shape, error) {
	a := len(c.in[0])
	if at := c.n.Int("axis", 1); at != int64(a) { // the one axis that may lie behind the last
		var err error
		if a, err = axis(at, a); err != nil {
			return nil, err
		}
	}
	rows, ok := c.in[0][:a].Elements()
	columns, ok2 := c.in[0][a:].Elements()
	if !ok || !ok2 {
		return nil, fmt.Errorf("%v is out of bounds", c.in[0])
	}
	return Shape{rows, columns}, nil
}

func reshape(c call) (Shape, error) {
	to, ok := c.s.ints(c.n.In(1))
	total, fits := c.in[0].Elements()
	if !ok || !fits {
		return nil, errors.New("the shape it is to give is not known")
	}
	out, free, rest := make(Shape, len(to)), -1, int64(1)
	for i, d := range to {
		switch {
		case d == 0 && c.n.Int("allowzero", 0) == 0 && i < len(c.in[0]):
			d = c.in[0][i]
		case d == -1 && free < 0:
			free, d = i, 1
		}
		out[i] = d
		if d < 0 || d > 0 && rest > maxElements/d {
			return nil, fmt.Errorf("%v cannot become %v", c.in[0], to)
		}
		rest *= d
	}
	if free >= 0 && rest > 0 {
		out[free] = total / rest
	}
	if n, ok := out.Elements(); !ok || n != total {
		return nil, fmt.Errorf("%v cannot become %v", c.in[0], to)
	}
	return out, nil
}

func transpose(c call) (Shape, error) {
	x, perm := c.in[0], c.n.Ints("perm")
	if perm == nil {
		out := slices.Clone(x)
		slices.Reverse(out)
		return out, nil
	}
	if len(perm) != len(x) {
		return nil, errAxes
	}
	out := make(Shape, len(x))
	for i, p := range perm {
		if p < 0 || p >= int64(len(x)) || slices.Contains(perm[:i], p) {
			return nil, errAxes
		}
		out[i] = x[p]
	}
	return out, nil
}

func squeeze(c call) (Shape, error) {
	list, ok := c.axes(1, len(c.in[0]))
	if !ok {
		return nil, errAxes
	}
	out := Shape{}
	for i, d := range c.in[0] {
		named := slices.Contains(list, i)
		if named && d != 1 {
			return nil, fmt.Errorf("axis %d of %v is not 1", i, c.in[0])
		}
		if !named && (d != 1 || list != nil) {
			out = append(out, d)
		}
	}
	return out, nil
}

func unsqueeze(c call) (Shape, error) {
	raw, ok := c.s.ints(c.n.In(1))
	if !ok || len(c.in[0])+len(raw) > maxRank {
		return nil, errAxes
	}
	list, ok := c.axes(1, len(c.in[0])+len(raw))
	if !ok {
		return nil, errAxes
	}
	out := slices.Clone(c.in[0])
	for _, a := range slices.Sorted(slices.Values(list)) {
		out = slices.Insert(out, a, 1)
	}
	return out, nil
}

func concat(c call) (Shape, error) {
	if !c.known(len(c.in)) {
		return nil, errInputs
	}
	out := slices.Clone(c.in[0])
	a, err := axis(c.n.Int("axis", 0), len(out))
	if err != nil {
		return nil, err
	}
	for _, s := range c.in[1:] {
		if len(s) != len(out) {
			return nil, errInputs
		}
		for i, d := range s {
			if i != a && d != out[i] {
				return nil, errInputs
			}
		}
		if out[a] += s[a]; out[a] > maxElements {
			return nil, errInputs
		}
	}
	return out, nil
}

func expand(c call) (Shape, error) {
	to, ok := c.s.ints(c.n.In(1))
	if !ok {
		return nil, errors.New("the shape it is to give is not known")
	}
	return broadcast(c.in[0], to)
}

func reduce(c call) (Shape, error) {
	list, ok := c.axes(1, len(c.in[0]))
	if !ok {
		return nil, errAxes
	}
	if list == nil && c.n.Int("noop_with_empty_axes", 0) != 0 {
		return c.in[0], nil
	}
	out := Shape{}
	for i, d := range c.in[0] {
		switch {
		case list != nil && !slices.Contains(list, i):
			out = append(out, d)
		case c.n.Int("keepdims", 1) != 0:
			out = append(out, 1)
		}
	}
	return out, nil
}

func pad(c call) (Shape, error) {
	pads, ok := c.s.ints(c.n.In(1))
	if !ok || len(pads) != 2*len(c.in[0]) || c.n.In(3) != "" {
		return nil, errors.New("its pads are not known or do not fit")
	}
	out := slices.Clone(c.in[0])
	for i := range out {
		for _, p := range []int64{pads[i], pads[i+len(out)]} {
			if p < -maxElements || p > maxElements {
				return nil, errors.New("its pads are out of range")
			}
			out[i] += p
		}
	}
	return out, nil
}

func slice(c call) (Shape, error) {
	from, ok := c.s.ints(c.n.In(1))
	to, ok2 := c.s.ints(c.n.In(2))
	list, ok3 := c.axes(3, len(c.in[0]))
	if c.n.In(3) == "" {
		list = []int{0, 1, 2, 3}[:min(len(from), 4)]
	}
	if !ok || !ok2 || !ok3 || len(from) != len(to) || len(from) != len(list) || len(list) > len(c.in[0]) {
		return nil, errAxes
	}
	if steps, known := c.s.ints(c.n.In(4)); c.n.In(4) != "" && (!known || slices.ContainsFunc(steps, func(v int64) bool { return v != 1 })) {
		return nil, errors.New("its steps are not known or not 1")
	}
	out := slices.Clone(c.in[0])
	for i, a := range list {
		n := out[a]
		out[a] = max(clamp(to[i], n)-clamp(from[i], n), 0)
	}
	return out, nil
}

// clamp is a bound of a slice of n elements, counted from the end when negative.
func clamp(i, n int64) int64 {
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n)
}

func split(c call) ([]Shape, error) {
	a, err := axis(c.n.Int("axis", 0), len(c.in[0]))
	if err != nil {
		return nil, err
	}
	sizes, known := c.s.ints(c.n.In(1))
	if parts := int64(len(c.n.GetOutput())); c.n.In(1) == "" && c.in[0][a]%parts == 0 {
		sizes, known = slices.Repeat([]int64{c.in[0][a] / parts}, int(parts)), true
	}
	if !known || len(sizes) != len(c.n.GetOutput()) {
		return nil, errors.New("the sizes of its parts are not known")
	}
	out := make([]Shape, len(sizes))
	for i, n := range sizes {
		out[i] = slices.Clone(c.in[0])
		out[i][a] = n
	}
	return out, nil
}

func shapeOf(c call) (Shape, error) {
	return Shape{int64(len(cut(c.in[0], c.n.Int("start", 0), c.n.Int("end", 1<<62))))}, nil
}

func gather(c call) (Shape, error) {
	if !c.known(2) || len(c.in[1]) > maxRank {
		return nil, errInputs
	}
	a, err := axis(c.n.Int("axis", 0), len(c.in[0]))
	if err != nil {
		return nil, err
	}
	return slices.Concat(c.in[0][:a], c.in[1], c.in[0][a+1:]), nil
}
