package compare

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/facet-search/facet/jobs/evaluate"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/pipeline"
)

// Config is the job file of `facet compare`.
type Config struct {
	Gallery string          `yaml:"gallery"` // where the images are
	Labels  labelled.Config `yaml:"labels"`  // with splits: train is trained on, measure says what is measured
	Output  string          `yaml:"output"`  // local folder of finished runs and tables

	Preprocess   pipeline.Preprocess `yaml:"preprocess"`
	Architecture zoo.Architecture    `yaml:"architecture"`
	Dim          int                 `yaml:"dim"`    // of an embedding; 0: the architecture's own
	Widths       []int               `yaml:"widths"` // channels of stem and blocks; none: the architecture's own
	// TaskStatistics gives batch norms behind a modulation statistics of their own for each task.
	TaskStatistics bool `yaml:"task_statistics"`

	Methods []zoo.Method     `yaml:"methods"`
	Seeds   []uint64         `yaml:"seeds"`
	Recipe  train.Recipe     `yaml:"recipe"` // its seed is the run's
	Measure evaluate.Measure `yaml:"measure"`
	Cores   int              `yaml:"cores"`  // runs at a time, one thread each
	Reject  float64          `yaml:"reject"` // share of the images that may be unreadable
}

// Reference is an example of a job file with every key, its default and what it means.
const Reference = `gallery: s3://catalogue/images/   # or a folder
` + labelled.Reference + `output: out/compare/              # local folder: finished runs are kept, a stopped job goes on
preprocess: {resize: stretch, size: [64, 64], filter: bilinear, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25],
  scale: 0.00392156862745098, channels: rgb, orientation: ignore, background: [255, 255, 255]}
architecture: small                # paper, small or resnet18
dim: 0                             # of an embedding; 0: the architecture's own
widths: []                         # channels of stem and blocks; none: the architecture's own
task_statistics: false             # batch norms behind a modulation with statistics of each task
methods: [independent, shared, branches, csn, modulation-last, modulation, modulation-all]
seeds: [1, 2, 3]
recipe:                            # the same for all
  steps: 2000
  loss: triplet                    # or semi-hard
  margin: 0.2
  batch: {rows: 48, group: 4, balance: 1, common: false}   # rows: images a task
  augment: {flip: false, shift: 0}
  optimizer: {kind: adagrad, momentum: 0.9, weight_decay: 0, scales_faster: 0}
  schedule: {kind: step, rate: 0.01, warmup: 0, every: 0.4, factor: 0.1}
  average: 0.9999                  # decay of the averaged weights
  compliance: 50                   # steps from one count of update compliance to the next
measure: {queries: test, against: test, limit: 0, triplets: 4000, seed: 1}   # as for facet evaluate
#cores: 2                          # runs at a time, one thread each; default: all
reject: 0.01                       # share of the images that may be unreadable
`

// steps is the default length of a run.
const steps = 2000

// Defaults is the configuration before the job file and the flags.
func Defaults() Config {
	return Config{
		Labels: labelled.Defaults(), Output: "out/compare/",
		Preprocess: pipeline.Preprocess{
			Resize: "stretch", Size: [2]int{64, 64}, Filter: "bilinear", Mean: [3]float64{0.5, 0.5, 0.5}, Std: [3]float64{0.25, 0.25, 0.25},
			Scale: 1.0 / 255, Channels: "rgb", Orientation: "ignore", Background: [3]uint8{255, 255, 255},
		},
		Architecture: zoo.Small, Methods: slices.Clone(zoo.Methods), Seeds: []uint64{1, 2, 3}, Recipe: train.Paper(steps),
		Measure: evaluate.DefaultMeasure(), Cores: runtime.NumCPU(), Reject: 0.01,
	}
}

// Validate lists what is wrong with the configuration by itself.
func (c *Config) Validate() (problems []jobfile.Problem) {
	add := func(field, text, hint string) {
		problems = append(problems, jobfile.Problem{Field: field, Text: text, Hint: hint})
	}
	if c.Gallery == "" {
		add("gallery", "is missing", "write gallery: s3://bucket/images/")
	}
	if c.Output == "" {
		add("output", "is missing", "write output: out/compare/")
	}
	if err := c.Preprocess.Validate(); err != nil {
		add("preprocess", err.Error(), "")
	}
	if len(c.Methods) == 0 || len(c.Seeds) == 0 {
		add("methods", "and seeds need at least one each", "leave them out")
	}
	for i, m := range c.Methods {
		if _, err := zoo.ParseMethod(string(m)); err != nil {
			add("methods", err.Error(), "")
		} else if slices.Contains(c.Methods[:i], m) {
			add("methods", fmt.Sprintf("name %s twice", m), "")
		}
	}
	for i, s := range c.Seeds {
		if slices.Contains(c.Seeds[:i], s) {
			add("seeds", fmt.Sprintf("name %d twice", s), "")
		}
	}
	if err := c.Recipe.Check(); err != nil {
		add("recipe", err.Error(), "")
	}
	if _, err := zoo.New(c.Architecture, c.options()); err != nil {
		add("architecture", err.Error(), "")
	}
	if c.Cores < 1 || c.Cores > 4096 {
		add("cores", fmt.Sprintf("is %d, want 1 to 4096", c.Cores), "leave it out for all")
	}
	if c.Reject < 0 || c.Reject > 1 {
		add("reject", fmt.Sprintf("is %v, want 0 to 1", c.Reject), "a share: 0.01 is one image in a hundred")
	}
	return append(append(problems, c.Labels.Validate("labels")...), c.Measure.Validate("measure")...)
}

// options are those of the architecture.
func (c *Config) options() zoo.Options {
	h, w := c.Preprocess.Output()
	return zoo.Options{Image: network.Shape{3, h, w}, Dim: c.Dim, Widths: c.Widths}
}

// network is the architecture under a method.
func (c *Config) network(m zoo.Method, tasks []string) (*network.Network, error) {
	o := c.options()
	b, err := zoo.New(c.Architecture, o)
	if err != nil {
		return nil, err
	}
	n, err := b.Apply(m, tasks, o.Image)
	if err == nil && c.TaskStatistics {
		zoo.TaskStatistics(n)
	}
	return n, err
}
