package train

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/pipeline"
)

// Config is the job file of `facet train`. Every key but gallery, labels and output has a default.
type Config struct {
	Gallery    string              `yaml:"gallery"` // where the images are
	Labels     labelled.Config     `yaml:"labels"`
	Output     string              `yaml:"output"` // a local folder
	Network    Network             `yaml:"network"`
	Train      string              `yaml:"train"` // what is trained: "all", or "modulation"
	Recipe     train.Recipe        `yaml:"recipe"`
	Preprocess pipeline.Preprocess `yaml:"preprocess"`
	Validate   Validation          `yaml:"validate"`
	Checkpoint int                 `yaml:"checkpoint"` // steps from one to the next
	Resume     bool                `yaml:"resume"`
	Memory     jobfile.Quantity    `yaml:"memory"`  // bytes of all images at the network's input size
	Threads    int                 `yaml:"threads"` // of a step; equal results want equal numbers
	Cores      int                 `yaml:"cores"`   // that decode images
	Fetch      int                 `yaml:"fetch"`   // objects read at a time
	Reject     float64             `yaml:"reject"`  // share of the images that may be unreadable
}

// Network is what is trained.
type Network struct {
	Start  string     `yaml:"start"`  // an architecture, or an ONNX file
	Method zoo.Method `yaml:"method"` // how it serves several tasks
	Dim    int        `yaml:"dim"`    // of an embedding; 0: the architecture's own
	Widths []int      `yaml:"widths"` // channels of stem and blocks; none: the architecture's own
	Stride int        `yaml:"stride"` // of the stem of paper and small: 1 or 2; 0: 1
	Sites  []string   `yaml:"sites"`  // nodes whose outputs are modulated, in the paper's stead
	// TaskStatistics keeps batch norms' statistics apart for each task, behind the first site.
	TaskStatistics bool `yaml:"task_statistics"`
	// Output is the tensor of an ONNX file that is the features; "": its output.
	Output string `yaml:"output"`
}

// Validation says what is measured while training goes on: the accuracy of triplets of the validation
// split.
type Validation struct {
	Every    int    `yaml:"every"`    // steps; 0 for only at the end
	Triplets int    `yaml:"triplets"` // a task
	Seed     uint64 `yaml:"seed"`     // of the triplets
}

// Reference is an example of a job file with every key, its default and what it means.
const Reference = `gallery: s3://catalogue/images/   # or a folder
` + labelled.Reference + `output: runs/shop/                 # local folder: model.onnx, checkpoint.state, curves as CSV and PNG
network:
  start: small                     # paper, small, resnet18, or an ONNX file with its weights; a file that has
                                   # an output embedding_TASK for each task is trained as it is
  method: modulation               # independent, shared, branches, csn, modulation-last, modulation, modulation-all
  dim: 0                           # of an embedding; 0: the architecture's own, or an ONNX file's output
  widths: []                       # channels of stem and blocks; none: the architecture's own
  stride: 1                        # of the stem of paper and small; 2 makes steps some four times cheaper
  sites: []                        # nodes to modulate instead of the paper's three
  task_statistics: false           # batch norms' statistics a task, behind the first site
  output: ""                       # of an ONNX file: the tensor of its features
train: all                         # or modulation: only scales and heads
recipe:
  seed: 1
  steps: 2000
  loss: semi-hard                  # or triplet, the paper's
  margin: 0.2
  batch:
    rows: 16                       # images that each task draws into a batch
    group: 4                       # images of one class that are drawn together
    balance: 1                     # classes as often as in the data; 0: all alike
    common: true                   # an image counts for all tasks that it has a label of
  augment: {flip: true, shift: 0}
  optimizer: {kind: adam, momentum: 0.9, weight_decay: 0, scales_faster: 20}  # or adagrad, sgd
  schedule: {kind: cosine, rate: 0.002, warmup: 0.03, every: 0.4, factor: 0.1}  # or step, constant
  average: 0.9999                  # decay of the averaged weights, which are the result; 0: the last ones
  compliance: 50                   # steps from one count of update compliance to the next; 0: never
preprocess:                        # goes into the model; left out, an ONNX file's own is taken
  size: [64, 64]
validate: {every: 250, triplets: 4000, seed: 1}
checkpoint: 250                    # steps from one to the next
resume: false                      # go on from the output's checkpoint where there is one
memory: 4GiB                       # of all images at the network's input size
#threads: 2                        # of a step; default: all cores. Equal results want equal numbers
#cores: 2                          # that decode; default: all
fetch: 16                          # objects read at a time
reject: 0.01                       # share of the images that may be unreadable
`

// DefaultPreprocess stretches images to 64×64 and centres them as is usual for photos.
func DefaultPreprocess() pipeline.Preprocess {
	return pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{64, 64}, Filter: "bilinear", Scale: 1.0 / 255,
		Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225},
		Channels: "rgb", Orientation: "ignore", Background: [3]uint8{255, 255, 255},
	}
}

// Defaults is the configuration before the job file and the flags.
func Defaults() Config {
	return Config{
		Labels: labelled.Defaults(), Network: Network{Start: string(zoo.Small), Method: zoo.Modulation}, Train: "all",
		Recipe: train.Frugal(2000), Preprocess: DefaultPreprocess(),
		Validate: Validation{Every: 250, Triplets: 4000, Seed: 1}, Checkpoint: 250,
		Memory: 4 << 30, Threads: runtime.NumCPU(), Cores: runtime.NumCPU(), Fetch: 16, Reject: 0.01,
	}
}

// Problems lists what is wrong with the configuration by itself.
func (c *Config) Problems() (problems []jobfile.Problem) {
	add := func(field, text, hint string) {
		problems = append(problems, jobfile.Problem{Field: field, Text: text, Hint: hint})
	}
	if c.Gallery == "" {
		add("gallery", "is missing", "write gallery: s3://bucket/images/")
	}
	if c.Output == "" || strings.Contains(c.Output, "://") {
		add("output", fmt.Sprintf("is %q", c.Output), "write output: runs/name/, a local folder")
	}
	if c.Train != "all" && c.Train != "modulation" {
		add("train", fmt.Sprintf("is %q", c.Train), "all or modulation")
	}
	for field, n := range map[string]int{
		"checkpoint": c.Checkpoint, "threads": c.Threads, "cores": c.Cores, "fetch": c.Fetch, "validate.triplets": c.Validate.Triplets,
	} {
		if n < 1 || n > 1<<24 {
			add(field, fmt.Sprintf("is %d, want 1 or more", n), "leave it out")
		}
	}
	if c.Validate.Every < 0 {
		add("validate.every", fmt.Sprintf("is %d, want 0 or more", c.Validate.Every), "0 validates only at the end")
	}
	if !(c.Reject >= 0 && c.Reject <= 1) {
		add("reject", fmt.Sprintf("is %v, want 0 to 1", c.Reject), "a share: 0.01 is one image in a hundred")
	}
	if err := c.Recipe.Check(); err != nil {
		add("recipe", err.Error(), "")
	}
	if err := c.Preprocess.Validate(); err != nil {
		add("preprocess", err.Error(), "")
	}
	slices.SortStableFunc(problems, func(a, b jobfile.Problem) int { return strings.Compare(a.Field, b.Field) })
	return append(append(problems, c.Network.problems("network")...), c.Labels.Validate("labels")...)
}

func (n *Network) problems(field string) (problems []jobfile.Problem) {
	add := func(key, text, hint string) {
		problems = append(problems, jobfile.Problem{Field: field + "." + key, Text: text, Hint: hint})
	}
	if _, err := zoo.ParseMethod(string(n.Method)); err != nil {
		add("method", err.Error(), "")
	}
	if n.Dim < 0 || n.Dim > 1<<16 {
		add("dim", fmt.Sprintf("is %d", n.Dim), "0 is the architecture's own")
	}
	if n.Output != "" && !n.fromFile() {
		add("output", "is for ONNX files", "leave it out")
	}
	if !n.fromFile() && !slices.Contains(zoo.Architectures, zoo.Architecture(n.Start)) {
		add("start", fmt.Sprintf("is %q", n.Start), fmt.Sprintf("one of %v, or a path that ends in .onnx", zoo.Architectures))
	}
	return problems
}

// fromFile reports whether the network starts from an ONNX file.
func (n *Network) fromFile() bool { return strings.HasSuffix(n.Start, ".onnx") }
