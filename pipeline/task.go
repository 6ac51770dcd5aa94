package pipeline

import (
	"errors"
	"fmt"
	"slices"
)

// Metric is how two embeddings of a task are compared.
type Metric string

const (
	Cosine Metric = "cosine" // inner product of unit vectors; larger is nearer
	L2     Metric = "l2"     // squared Euclidean distance; smaller is nearer
)

// Task is one similarity that a model answers for, as its `facet.tasks` metadata states it.
type Task struct {
	Name       string `json:"name" yaml:"name"`
	Output     string `json:"output" yaml:"output"`         // the ONNX graph's output, float32 [N, Dim]
	Dim        int    `json:"dim" yaml:"dim"`               // length of a vector
	Metric     Metric `json:"metric" yaml:"metric"`         //
	Normalized bool   `json:"normalized" yaml:"normalized"` // the model promises vectors of unit length
}

// Validate reports what is wrong with the task, or nil.
func (t Task) Validate() error {
	switch {
	case t.Name == "":
		return errors.New("a task has no name")
	case !plainName(t.Name):
		return fmt.Errorf("task %q: a name is made of letters, digits, '_' and '-'", t.Name)
	case t.Output == "":
		return fmt.Errorf("task %q names no output", t.Name)
	case t.Dim <= 0:
		return fmt.Errorf("task %q: dim is %d, want > 0", t.Name, t.Dim)
	case t.Metric != Cosine && t.Metric != L2:
		return fmt.Errorf("task %q: metric is %q, want %q or %q", t.Name, t.Metric, Cosine, L2)
	case t.Metric == Cosine && !t.Normalized:
		return fmt.Errorf("task %q: metric cosine wants normalized outputs; use l2 or normalise in the model", t.Name)
	}
	return nil
}

// plainName keeps task names usable as folder names in every store.
func plainName(s string) bool {
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
		if !ok {
			return false
		}
	}
	return len(s) <= 128
}

// Preprocess is how bytes become the model's input, as its `facet.preprocess` metadata states it.
// A pixel value p of channel c becomes (p*Scale - Mean[c]) / Std[c], computed in float32.
type Preprocess struct {
	Resize string `json:"resize" yaml:"resize"` // "stretch", "shorter" (then centre crop) or "letterbox"
	Size   [2]int `json:"size" yaml:"size"`     // height, width of the resized image
	// Crop is the height and width of the centre crop after "shorter"; zero means Size.
	Crop        [2]int     `json:"crop,omitzero" yaml:"crop,omitempty"`
	Filter      string     `json:"filter" yaml:"filter"` // "bilinear" or "bicubic", antialiased as in Pillow
	Mean        [3]float64 `json:"mean" yaml:"mean"`     // in the order of Channels
	Std         [3]float64 `json:"std" yaml:"std"`
	Scale       float64    `json:"scale" yaml:"scale"`             // 1/255 for the usual 0…1
	Channels    string     `json:"channels" yaml:"channels"`       // "rgb" or "bgr"
	Orientation string     `json:"orientation" yaml:"orientation"` // EXIF: "ignore" or "apply"
	Background  [3]uint8   `json:"background" yaml:"background"`   // RGB that transparency is flattened on
}

// Output is the height and width of the tensor that the preprocessing yields.
func (p Preprocess) Output() (height, width int) {
	if p.Resize == "shorter" && p.Crop != [2]int{} {
		return p.Crop[0], p.Crop[1]
	}
	return p.Size[0], p.Size[1]
}

// maxSide bounds a model's input: 4096² is far beyond any image network and keeps a bad document
// from asking for terabytes.
const maxSide = 4096

// Validate reports what is wrong with the preprocessing, or nil.
func (p Preprocess) Validate() error {
	oneOf := func(field, v string, want ...string) error {
		if slices.Contains(want, v) {
			return nil
		}
		return fmt.Errorf("preprocess: %s is %q, want one of %q", field, v, want)
	}
	errs := []error{
		oneOf("resize", p.Resize, "stretch", "shorter", "letterbox"),
		oneOf("filter", p.Filter, "bilinear", "bicubic"),
		oneOf("channels", p.Channels, "rgb", "bgr"),
		oneOf("orientation", p.Orientation, "ignore", "apply"),
	}
	for i := range 2 {
		if p.Size[i] < 1 || p.Size[i] > maxSide {
			errs = append(errs, fmt.Errorf("preprocess: size is %v, want [height, width] within 1…%d", p.Size, maxSide))
			break
		}
	}
	if p.Crop != [2]int{} {
		if p.Resize != "shorter" {
			errs = append(errs, fmt.Errorf("preprocess: crop goes with resize \"shorter\", not %q", p.Resize))
		} else if p.Crop[0] < 1 || p.Crop[1] < 1 || p.Crop[0] > p.Size[0] || p.Crop[1] > p.Size[1] {
			errs = append(errs, fmt.Errorf("preprocess: crop %v does not fit into size %v", p.Crop, p.Size))
		}
	}
	for c, s := range p.Std {
		if s == 0 {
			errs = append(errs, fmt.Errorf("preprocess: std[%d] is 0", c))
		}
	}
	if p.Scale == 0 {
		errs = append(errs, errors.New("preprocess: scale is 0, want 1/255 or the like"))
	}
	return errors.Join(errs...)
}
