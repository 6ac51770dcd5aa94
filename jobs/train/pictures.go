package train

import (
	"bytes"
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette/moreland"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/facet-search/facet/modulation/train"
)

// pictures draws the curves and the heat map of update compliance.
func (j *job) pictures(curve []train.Point, ucr *train.Compliance) error {
	tasks := j.net.Tasks
	loss := lines(tasks, func(add func(task int, x, y float64)) {
		width := max(len(curve)/200, 1) // a mean over so many steps, or nothing is to be seen
		for lo := 0; lo < len(curve); lo += width {
			part := curve[lo:min(lo+width, len(curve))]
			for t := range tasks {
				sum := 0.0
				for _, p := range part {
					sum += p.Loss[t]
				}
				add(t, float64(part[len(part)-1].Step+1), sum/float64(len(part)))
			}
		}
	})
	if err := j.picture("loss.png", "loss", tasks, loss); err != nil {
		return err
	}
	validation := lines(tasks, func(add func(task int, x, y float64)) {
		for _, p := range curve {
			for t, v := range p.Validation {
				if v != unmeasured {
					add(t, float64(p.Step+1), v)
				}
			}
		}
	})
	if err := j.picture("validation.png", "triplets right, validation split", tasks, validation); err != nil {
		return err
	}
	if ucr == nil || ucr.Batches == 0 || len(ucr.Layers) == 0 {
		return nil
	}
	return j.heatMap("compliance.png", ucr)
}

// lines collects one line a task.
func lines(tasks []string, fill func(add func(task int, x, y float64))) []plotter.XYs {
	l := make([]plotter.XYs, len(tasks))
	fill(func(task int, x, y float64) { l[task] = append(l[task], plotter.XY{X: x, Y: y}) })
	return l
}

func (j *job) picture(name, what string, tasks []string, lines []plotter.XYs) error {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "step", what
	p.Legend.Top = true
	for t, xy := range lines {
		if len(xy) == 0 {
			continue
		}
		line, err := plotter.NewLine(xy)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		line.Color, line.Width = plotutil.Color(t), vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(tasks[t], line)
	}
	return j.draw(name, p, 16*vg.Centimeter, 10*vg.Centimeter)
}

// heatMap has a row a layer, the first on top, and a column a pair of tasks.
func (j *job) heatMap(name string, c *train.Compliance) error {
	grid := newRatios(c)
	colours := moreland.SmoothBlueRed()
	colours.SetMin(0)
	colours.SetMax(1)
	heat := plotter.NewHeatMap(grid, colours.Palette(64))
	heat.Min, heat.Max = 0, 1
	p := plot.New()
	p.Title.Text = fmt.Sprintf("UCR over %d batches", c.Batches)
	p.Add(heat)
	p.NominalX(grid.pairs...)
	layers := make([]string, len(c.Layers))
	for i, l := range c.Layers {
		layers[len(layers)-1-i] = l
	}
	p.NominalY(layers...)
	p.X.Tick.Label.Rotation = math.Pi / 8
	p.X.Tick.Label.XAlign = -1
	text, err := plotter.NewLabels(grid.labels())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for i := range text.TextStyle {
		text.TextStyle[i].XAlign, text.TextStyle[i].YAlign = -0.5, -0.5
	}
	p.Add(text)
	width, height := vg.Length(len(grid.pairs))*3+6, vg.Length(len(layers))*0.7+4
	return j.draw(name, p, width*vg.Centimeter, height*vg.Centimeter)
}

func (j *job) draw(name string, p *plot.Plot, width, height vg.Length) error {
	w, err := p.WriterTo(width, height, "png")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return replace(j.path(name), b.Bytes())
}

// ratios is a plotter.GridXYZ of update compliance.
type ratios struct {
	of    *train.Compliance
	pairs []string
	index [][2]int // of the pairs' tasks
}

func newRatios(c *train.Compliance) *ratios {
	r := &ratios{of: c}
	for j := range c.Tasks {
		for i := range j {
			r.pairs, r.index = append(r.pairs, c.Tasks[i]+" · "+c.Tasks[j]), append(r.index, [2]int{i, j})
		}
	}
	return r
}

// Dims implements plotter.GridXYZ.
func (r *ratios) Dims() (columns, rows int) { return len(r.pairs), len(r.of.Layers) }

// X implements plotter.GridXYZ.
func (r *ratios) X(column int) float64 { return float64(column) }

// Y implements plotter.GridXYZ.
func (r *ratios) Y(row int) float64 { return float64(row) }

// Z implements plotter.GridXYZ.
func (r *ratios) Z(column, row int) float64 {
	batches, _ := r.of.Ratio(len(r.of.Layers)-1-row, r.index[column][0], r.index[column][1])
	return batches
}

// labels write the numbers into the cells.
func (r *ratios) labels() (l plotter.XYLabels) {
	columns, rows := r.Dims()
	for c := range columns {
		for row := range rows {
			l.XYs = append(l.XYs, plotter.XY{X: float64(c), Y: float64(row)})
			l.Labels = append(l.Labels, fmt.Sprintf("%.2f", r.Z(c, row)))
		}
	}
	return l
}
