package index

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"

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
	Retrain   Retrain           `yaml:"retrain"` //
	Scratch   string            `yaml:"scratch"` // local folder for files on their way; "": the system's
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
		Limits:    Limits{Reject: 0.01, Pixels: 64e6, Bytes: 64 << 20, Scans: 100},
		Engine:    "onnxruntime",
		Format:    "parquet",
		Batch:     8,
		Cores:     runtime.NumCPU(),
		Fetch:     16,
		Memory:    Memory{InFlight: 256 << 20, Index: 8 << 30},
		Recall:    Recall{Queries: 500, Target: 0.95},
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
	v.within("shard_size", float64(c.ShardSize), 1, 1<<20, "16384")
	v.within("batch", float64(c.Batch), 1, 1024, "8")
	v.within("cores", float64(c.Cores), 1, 4096, "leave it out for all")
	v.within("fetch", float64(c.Fetch), 1, 4096, "16")
	v.within("recall.queries", float64(c.Recall.Queries), 1, 100000, "500")
	v.within("recall.target", c.Recall.Target, 0, 1, "0.95")
	v.within("retrain.changed", c.Retrain.Changed, 0, 1, "a share: 0.3 is three vectors in ten")
	v.within("retrain.imbalance", c.Retrain.Imbalance, 1, 1000, "1.5")
	v.within("memory.in_flight", float64(c.Memory.InFlight), 1, math.MaxInt64, "256MiB")
	v.within("memory.index", float64(c.Memory.Index), 1, math.MaxInt64, "8GiB")
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
