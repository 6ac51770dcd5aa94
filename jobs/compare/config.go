package compare

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/facet-search/facet/jobs/evaluate"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	job "github.com/facet-search/facet/jobs/train"
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

	Preprocess pipeline.Preprocess `yaml:"preprocess"`
	Network    job.Network         `yaml:"network"` // its method is the run's
	Methods    []zoo.Method        `yaml:"methods"`
	Seeds      []uint64            `yaml:"seeds"`
	Recipe     train.Recipe        `yaml:"recipe"` // its seed is the run's
	Measure    evaluate.Measure    `yaml:"measure"`
	Memory     jobfile.Quantity    `yaml:"memory"` // bytes of all training images at the network's input size
	Cores      int                 `yaml:"cores"`  // runs at a time, one thread each
	Reject     float64             `yaml:"reject"` // share of the images that may be unreadable
}

// Reference is an example of a job file with every key, its default and what it means.
const Reference = `gallery: s3://catalogue/images/   # or a folder
` + labelled.Reference + `output: out/compare/              # local folder: finished runs are kept, a stopped job goes on
preprocess:                        # goes into the models
  size: [64, 64]
network:                           # as for facet train; its method is the run's
  start: small                     # paper, small, resnet18, or an ONNX file with its weights
  dim: 0                           # of an embedding; 0: the architecture's own
  widths: []                       # channels of stem and blocks; none: the architecture's own
  stride: 0                        # of the stem of paper and small: 1 or 2; 0: 1
  sites: []                        # what modulation modulates instead of the paper's three
  task_statistics: false           # batch norms' statistics a task, behind the first site
methods: [independent, shared, branches, csn, modulation-last, modulation, modulation-all]
seeds: [1, 2, 3]
recipe:                            # as for facet train, the same for all; its seed is the run's
  steps: 1000
measure: {queries: test, against: test, limit: 0, triplets: 4000, seed: 1}   # as for facet evaluate
memory: 4GiB                       # of all training images at the network's input size
#cores: 2                          # runs at a time, one thread each; default: all
reject: 0.01                       # share of the images that may be unreadable
`

// steps is the default length of a run.
const steps = 1000

// Defaults is the configuration before the job file and the flags.
func Defaults() Config {
	return Config{
		Labels: labelled.Defaults(), Output: "out/compare/",
		Preprocess: job.DefaultPreprocess(), Network: job.Network{Start: string(zoo.Small)},
		Methods: slices.Clone(zoo.Methods), Seeds: []uint64{1, 2, 3}, Recipe: train.Frugal(steps),
		Measure: evaluate.DefaultMeasure(), Memory: 4 << 30, Cores: runtime.NumCPU(), Reject: 0.01,
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
	if c.Network.Method != "" {
		add("network.method", fmt.Sprintf("is %q", c.Network.Method), "list it in methods")
	}
	if c.Cores < 1 || c.Cores > 4096 {
		add("cores", fmt.Sprintf("is %d, want 1 to 4096", c.Cores), "leave it out for all")
	}
	if c.Reject < 0 || c.Reject > 1 {
		add("reject", fmt.Sprintf("is %v, want 0 to 1", c.Reject), "a share: 0.01 is one image in a hundred")
	}
	return append(append(problems, c.Labels.Validate("labels")...), c.Measure.Validate("measure")...)
}

// shape is that of the network's images.
func (c *Config) shape() network.Shape {
	h, w := c.Preprocess.Output()
	return network.Shape{3, h, w}
}
