package evaluate

import (
	"fmt"
	"runtime"

	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/stages/labels"
)

// Config is the job file of `facet evaluate`: either a gallery and a model, or an output.
type Config struct {
	Gallery string          `yaml:"gallery"` // where the images are
	Model   index.Model     `yaml:"model"`   // the ONNX file, and what overrides its metadata
	Output  string          `yaml:"output"`  // or: where a snapshot of the gallery is published
	Labels  labelled.Config `yaml:"labels"`
	Tasks   []string        `yaml:"tasks"` // by name; none means all that have both labels and embeddings
	Measure Measure         `yaml:"measure"`
	Engine  string          `yaml:"engine"`
	Batch   int             `yaml:"batch"`
	Cores   int             `yaml:"cores"`
	Fetch   int             `yaml:"fetch"`
	Reject  float64         `yaml:"reject"` // share of the images that may be unreadable
}

// Measure says what is measured.
type Measure struct {
	Queries  string `yaml:"queries" json:"queries"`   // a split, or "all"
	Against  string `yaml:"against" json:"against"`   // the split that is searched, or "all"
	Limit    int    `yaml:"limit" json:"limit"`       // only that many first images of against; 0: all
	Triplets int    `yaml:"triplets" json:"triplets"` // how many are drawn a task where no lists are given
	Seed     uint64 `yaml:"seed" json:"seed"`         // of the draw
}

// Reference is an example of a job file with every key, its default and what it means.
const Reference = `gallery: s3://catalogue/images/   # or a folder
model: models/shop.onnx            # or {path: …, tasks: […], preprocess: {…}}, as for facet index
#output: s3://catalogue-index/     # instead of gallery and model: evaluate the published snapshot
` + labelled.Reference + `tasks: []                          # by name; none: all with labels and embeddings
measure:
  queries: test                    # train, val, test or all: the images that are searched for
  against: test                    # the images that are searched; a query does not find itself
  limit: 0                         # only that many first images of against; 0: all
  triplets: 4000                   # drawn a task among the queries, unless labels.triplets has lists
  seed: 1                          # of the draw
engine: onnxruntime
batch: 8                           # images a run of the model
#cores: 2                          # default: all
fetch: 16                          # objects read at a time
reject: 0.01                       # share of the images that may be unreadable
`

// Defaults is the configuration before the job file and the flags.
func Defaults() Config {
	return Config{
		Labels: labelled.Defaults(), Measure: DefaultMeasure(), Engine: "onnxruntime", Batch: 8, Cores: runtime.NumCPU(), Fetch: 16, Reject: 0.01,
	}
}

// DefaultMeasure is the test split, searched in itself.
func DefaultMeasure() Measure {
	return Measure{Queries: "test", Against: "test", Triplets: 4000, Seed: 1}
}

// Validate lists what is wrong with the configuration by itself.
func (c *Config) Validate() (problems []jobfile.Problem) {
	add := func(field, text, hint string) {
		problems = append(problems, jobfile.Problem{Field: field, Text: text, Hint: hint})
	}
	switch {
	case c.Output != "" && (c.Model.Path != "" || c.Gallery != ""):
		add("output", "is given beside a gallery or a model", "evaluate either a published snapshot or a model")
	case c.Output == "" && c.Gallery == "":
		add("gallery", "is missing", "write gallery: s3://bucket/images/, or output: for a published snapshot")
	case c.Output == "" && c.Model.Path == "":
		add("model", "is missing", "write model: path/to/model.onnx")
	}
	for field, n := range map[string]int{"batch": c.Batch, "cores": c.Cores, "fetch": c.Fetch} {
		if n < 1 || n > 4096 {
			add(field, fmt.Sprintf("is %d, want 1 to 4096", n), "leave it out")
		}
	}
	if c.Reject < 0 || c.Reject > 1 {
		add("reject", fmt.Sprintf("is %v, want 0 to 1", c.Reject), "a share: 0.01 is one image in a hundred")
	}
	return append(append(problems, c.Labels.Validate("labels")...), c.Measure.Validate("measure")...)
}

// Validate lists what is wrong; field is the measure's own in the job file.
func (m *Measure) Validate(field string) (problems []jobfile.Problem) {
	for key, name := range map[string]string{"queries": m.Queries, "against": m.Against} {
		if _, err := labels.ParseSplit(name); name != "all" && (err != nil || name == "") {
			problems = append(problems, jobfile.Problem{Field: field + "." + key, Text: fmt.Sprintf("is %q", name), Hint: "train, val, test or all"})
		}
	}
	for key, n := range map[string]int{"limit": m.Limit, "triplets": m.Triplets} {
		if n < 0 || n > 1<<30 {
			problems = append(problems, jobfile.Problem{Field: field + "." + key, Text: fmt.Sprintf("is %d", n), Hint: "a number of images or triplets, 0 or more"})
		}
	}
	return problems
}
