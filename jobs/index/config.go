package index

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
)

// Config is the job file of `facet index`. Every key but gallery, model and output has a default.
type Config struct {
	Gallery   Gallery           `yaml:"gallery"`
	Model     Model             `yaml:"model"`
	Output    string            `yaml:"output"`     // s3://bucket/prefix/ or a folder
	Tasks     []string          `yaml:"tasks"`      // by name; none means all of the model's
	Index     map[string]string `yaml:"index"`      // task, or "default", to "auto" or a FAISS factory string
	ShardSize int               `yaml:"shard_size"` // images a shard at most, when the first snapshot fixes the number of shards
	Limits    Limits            `yaml:"limits"`
	Engine    string            `yaml:"engine"`  // "onnxruntime", or "onnx-go" in a build with that tag
	Format    string            `yaml:"format"`  // "parquet", or "arrow" for Arrow IPC beside it
	Batch     int               `yaml:"batch"`   // images a run of the model
	Cores     int               `yaml:"cores"`   // 0: all
	Fetch     int               `yaml:"fetch"`   // objects read at a time
	Memory    Memory            `yaml:"memory"`  //
	Recall    Recall            `yaml:"recall"`  //
	Gate      Gate              `yaml:"gate"`    //
	Lease     time.Duration     `yaml:"lease"`   // how long a run that has stopped answering keeps others off the output
	Retrain   Retrain           `yaml:"retrain"` //
	Scratch   string            `yaml:"scratch"` // local folder for files on their way; "": the system's

	Full  bool     `yaml:"-"` // reuse nothing of the last snapshot but ids
	Retry []string `yaml:"-"` // reasons for which rejected images are tried again though they are unchanged, or "all"
}

// Gallery says where the images are: an address alone, or a manifest of keys below a prefix.
type Gallery struct {
	Prefix     string   `yaml:"prefix"`
	Manifest   string   `yaml:"manifest"`   // CSV, Parquet, or S3 Inventory's manifest.json
	Key        string   `yaml:"key"`        // the manifest's column of keys
	Attributes []string `yaml:"attributes"` // further columns that go into the items
	Include    []string `yaml:"include"`    // patterns of keys, for a prefix
	Exclude    []string `yaml:"exclude"`
}

// UnmarshalYAML takes an address or a mapping.
func (g *Gallery) UnmarshalYAML(decode func(any) error) error {
	if decode(&g.Prefix) == nil {
		return nil
	}
	type mapping Gallery
	return decode((*mapping)(g))
}

// Model is the ONNX file, and what overrides its metadata.
type Model struct {
	Path       string               `yaml:"path"`
	SHA256     string               `yaml:"sha256"` // pins the file's content; "": any
	Tasks      []pipeline.Task      `yaml:"tasks"`
	Preprocess *pipeline.Preprocess `yaml:"preprocess"`
}

// UnmarshalYAML takes a path or a mapping.
func (m *Model) UnmarshalYAML(decode func(any) error) error {
	if decode(&m.Path) == nil {
		return nil
	}
	type mapping Model
	return decode((*mapping)(m))
}

// Limits are what an image, and a night, may at most be.
type Limits struct {
	Reject float64          `yaml:"reject"` // share of the listed images in quarantine
	Pixels jobfile.Quantity `yaml:"pixels"` // of one image
	Bytes  jobfile.Quantity `yaml:"bytes"`  // of one encoded image
	Scans  int              `yaml:"scans"`  // of one progressive JPEG
	// Seconds bounds one image: the processor time that decoding it takes, and how long the store may
	// say nothing while it is read, stages.Silences times.
	Seconds float64 `yaml:"seconds"`
}

// Memory bounds what grows with the size of images and of the gallery.
type Memory struct {
	InFlight jobfile.Quantity `yaml:"in_flight"` // bytes of encoded images fetched and not yet decoded
	Index    jobfile.Quantity `yaml:"index"`     // bytes of an index that "auto" may choose
}

// Recall says how an index is measured and what "auto" tunes it to.
type Recall struct {
	Queries int     `yaml:"queries"` // vectors held out and searched for
	Target  float64 `yaml:"target"`  // recall@10 that search parameters are raised for
}

// Gate is what a snapshot is held against before it becomes the current one.
type Gate struct {
	Recall     float64 `yaml:"recall"`     // least recall@10 of each index on its held-out queries
	Neighbours float64 `yaml:"neighbours"` // least share of their 10 neighbours that unchanged images keep
	Centroid   float64 `yaml:"centroid"`   // farthest that a task's mean vector may move, in lengths of a vector
	Norm       float64 `yaml:"norm"`       // largest relative change of the vectors' mean length
	Deleted    float64 `yaml:"deleted"`    // largest share of last night's images that may be gone
	Queries    int     `yaml:"queries"`    // unchanged images that are searched for in both nights' indexes
}

// Retrain says when last night's index is built anew rather than kept up.
type Retrain struct {
	Changed   float64 `yaml:"changed"`   // share of the vectors that changed since training
	Imbalance float64 `yaml:"imbalance"` // of the lists, times that after training
}

// Defaults is the configuration before the job file and the flags.
func Defaults() Config {
	return Config{
		Gallery:   Gallery{Key: "key"},
		ShardSize: 16384,
		Limits:    Limits{Reject: 0.01, Pixels: 64e6, Bytes: 64 << 20, Scans: 100, Seconds: 30},
		Engine:    "onnxruntime",
		Format:    "parquet",
		Batch:     8,
		Cores:     runtime.NumCPU(),
		Fetch:     16,
		Memory:    Memory{InFlight: 256 << 20, Index: 8 << 30},
		Recall:    Recall{Queries: 500, Target: 0.95},
		Gate:      Gate{Recall: 0.8, Neighbours: 0.5, Centroid: 0.2, Norm: 0.1, Deleted: 0.2, Queries: 200},
		Lease:     2 * time.Minute,
		Retrain:   Retrain{Changed: 0.3, Imbalance: 1.5},
	}
}

// Validate lists what is wrong with the configuration by itself; what needs the model or the stores
// is checked when they are opened, still before any work.
func (c *Config) Validate() []jobfile.Problem {
	v := validation{}
	v.required("gallery", c.Gallery.Prefix, "gallery: s3://bucket/images/, also beside a manifest, whose keys are below it")
	v.required("model", c.Model.Path, "model: path/to/model.onnx")
	v.required("output", c.Output, "output: s3://bucket/index/")
	v.within("limits.reject", c.Limits.Reject, 0, 1, "a share: 0.01 is one image in a hundred")
	v.within("limits.pixels", float64(c.Limits.Pixels), 1, 1<<31, "64M")
	v.within("limits.bytes", float64(c.Limits.Bytes), 1, 1<<31, "64MiB")
	v.within("limits.scans", float64(c.Limits.Scans), 1, 1000, "100")
	v.within("limits.seconds", c.Limits.Seconds, 0.01, 86400, "30")
	v.within("shard_size", float64(c.ShardSize), 1, 1<<20, "16384")
	v.within("batch", float64(c.Batch), 1, 1024, "8")
	v.within("cores", float64(c.Cores), 1, 4096, "leave it out for all")
	v.within("fetch", float64(c.Fetch), 1, 4096, "16")
	v.within("recall.queries", float64(c.Recall.Queries), 1, 100000, "500")
	v.within("recall.target", c.Recall.Target, 0, 1, "0.95")
	c.Gate.validate(&v)
	v.within("retrain.changed", c.Retrain.Changed, 0, 1, "a share: 0.3 is three vectors in ten")
	v.within("retrain.imbalance", c.Retrain.Imbalance, 1, 1000, "1.5")
	v.within("memory.in_flight", float64(c.Memory.InFlight), 1, math.MaxInt64, "256MiB")
	v.within("memory.index", float64(c.Memory.Index), 1, math.MaxInt64, "8GiB")
	v.within("lease", c.Lease.Seconds(), 1, 86400, "2m")
	for _, r := range c.Retry {
		v.oneOf("--retry", r, append(reasons(), "all")...)
	}
	v.oneOf("engine", c.Engine, "onnxruntime", "onnx-go")
	v.oneOf("format", c.Format, "parquet", "arrow")
	if c.Gallery.Manifest != "" && len(c.Gallery.Include)+len(c.Gallery.Exclude) > 0 {
		v.add("gallery.include", "patterns go with a prefix, not with a manifest", "leave rows out of the manifest")
	}
	if c.Model.Path != "" {
		if st, err := os.Stat(c.Model.Path); err != nil {
			v.add("model", err.Error(), "the path is relative to the working directory")
		} else if st.IsDir() {
			v.add("model", c.Model.Path+" is a folder", "name the .onnx file")
		}
	}
	return v
}

func (g Gate) validate(v *validation) {
	v.within("gate.recall", g.Recall, 0, 1, "0.8; 0 lets any pass")
	v.within("gate.neighbours", g.Neighbours, 0, 1, "0.5; 0 lets any pass")
	v.within("gate.centroid", g.Centroid, 0, 2, "0.2; 2 lets any pass")
	v.within("gate.norm", g.Norm, 0, math.MaxFloat64, "0.1: a tenth")
	v.within("gate.deleted", g.Deleted, 0, 1, "0.2: a fifth; 1 lets any pass")
	v.within("gate.queries", float64(g.Queries), 1, 10000, "200")
}

// reasons are the names of pipeline's reasons, as they are written to the quarantine.
func reasons() (names []string) {
	for _, r := range pipeline.Reasons {
		names = append(names, string(r))
	}
	return names
}

type validation []jobfile.Problem

func (v *validation) add(field, text, hint string) {
	*v = append(*v, jobfile.Problem{Field: field, Text: text, Hint: hint})
}

func (v *validation) required(field, value, example string) {
	if value == "" {
		v.add(field, "is missing", "write "+example)
	}
}

func (v *validation) within(field string, value, low, high float64, hint string) {
	if !(value >= low && value <= high) {
		v.add(field, fmt.Sprintf("is %v, want %v to %v", value, low, high), hint)
	}
}

func (v *validation) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(field, fmt.Sprintf("is %q", value), "one of "+strings.Join(allowed, ", "))
	}
}
