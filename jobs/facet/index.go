package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
)

func indexCommand() *cobra.Command {
	var file string
	var asJSON bool
	var profile string
	c := &cobra.Command{
		Use:   "index [-c job.yaml]",
		Short: "Embed a gallery's images and publish a snapshot of searchable indexes",
		Long: `Streams the images of a gallery, runs the model once on each, writes items and embeddings
as Parquet, builds one FAISS index a task and publishes all of it as one snapshot.

The job file's keys, all with a default but the first three:
` + indent(index.Reference) + `
Flags override the job file.`,
		Args: noArgs,
	}
	flags := overrides(c.Flags())
	c.Flags().StringVarP(&file, "config", "c", "", "job file (YAML)")
	c.Flags().BoolVar(&asJSON, "json", false, "log JSON lines, and end with the result as one JSON line on standard output")
	c.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile for go tool pprof")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		stop, err := startProfile(profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		config := index.Defaults()
		var f *jobfile.File
		if file != "" {
			var err error
			if f, err = jobfile.Load(file, &config); err != nil {
				return err
			}
		}
		flags.apply(c.Flags(), &config)
		if err := f.Check(config.Validate()); err != nil {
			return err
		}
		p := progress.New(os.Stderr, asJSON)
		defer p.Close()
		r, err := index.Run(c.Context(), config, p)
		if r == nil {
			return err
		}
		p.Close()
		return errors.Join(report(r, config.Output, err, asJSON), err)
	}
	return c
}

// startProfile profiles the process until stop is called; no name, no profile.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: CPU profile: %w", jobfile.ErrConfig, err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ") + "\n"
}

// indexFlags are the flags that override keys of the job file.
type indexFlags struct {
	config index.Config
	index  map[string]string
}

func overrides(f *pflag.FlagSet) *indexFlags {
	o := &indexFlags{config: index.Defaults()}
	c := &o.config
	f.StringVar(&c.Gallery.Prefix, "gallery", "", "where the images are: s3://bucket/prefix/ or a folder")
	f.StringVar(&c.Model.Path, "model", "", "ONNX file")
	f.StringVar(&c.Output, "output", "", "where snapshots are published: s3://bucket/prefix/ or a folder")
	f.StringSliceVar(&c.Tasks, "tasks", nil, "tasks to index (default: all of the model's)")
	f.StringToStringVar(&o.index, "index", nil, "index types, as task=FACTORY,… or default=FACTORY")
	f.IntVar(&c.ShardSize, "shard-size", c.ShardSize, "images a shard at most")
	f.Float64Var(&c.Limits.Reject, "reject", c.Limits.Reject, "share of images that may be rejected")
	f.Float64Var(&c.Gate.Deleted, "deleted", c.Gate.Deleted, "share of last night's images that may be gone")
	f.StringVar(&c.Engine, "engine", c.Engine, "onnxruntime or onnx-go")
	f.StringVar(&c.Format, "format", c.Format, "parquet, or arrow for Arrow IPC beside it")
	f.IntVar(&c.Batch, "batch", c.Batch, "images a run of the model")
	f.IntVar(&c.Cores, "cores", c.Cores, "cores to use")
	f.IntVar(&c.Fetch, "fetch", c.Fetch, "objects read at a time")
	f.DurationVar(&c.Lease, "lease", c.Lease, "how long a run that stopped answering keeps others off the output")
	f.BoolVar(&c.Full, "full", false, "reuse nothing of the last snapshot but ids")
	f.StringSliceVar(&c.Retry, "retry", nil, "try rejected images again though they are unchanged: reasons of the quarantine, or all")
	f.StringVar(&c.Scratch, "scratch", "", "local folder for temporary files")
	return o
}

// apply copies the flags that were given.
func (o *indexFlags) apply(f *pflag.FlagSet, c *index.Config) {
	given := &o.config
	copies := map[string]func(){
		"gallery":    func() { c.Gallery.Prefix = given.Gallery.Prefix },
		"model":      func() { c.Model.Path = given.Model.Path },
		"output":     func() { c.Output = given.Output },
		"tasks":      func() { c.Tasks = given.Tasks },
		"shard-size": func() { c.ShardSize = given.ShardSize },
		"reject":     func() { c.Limits.Reject = given.Limits.Reject },
		"deleted":    func() { c.Gate.Deleted = given.Gate.Deleted },
		"engine":     func() { c.Engine = given.Engine },
		"format":     func() { c.Format = given.Format },
		"batch":      func() { c.Batch = given.Batch },
		"cores":      func() { c.Cores = given.Cores },
		"fetch":      func() { c.Fetch = given.Fetch },
		"lease":      func() { c.Lease = given.Lease },
		"full":       func() { c.Full = given.Full },
		"retry":      func() { c.Retry = given.Retry },
		"scratch":    func() { c.Scratch = given.Scratch },
		"index": func() {
			if c.Index == nil {
				c.Index = map[string]string{}
			}
			for k, v := range o.index {
				c.Index[k] = v
			}
		},
	}
	f.Visit(func(flag *pflag.Flag) {
		if set := copies[flag.Name]; set != nil {
			set()
		}
	})
}

// report prints what the night came to; refused is the gate's word, or nil.
func report(r *index.Result, output string, refused error, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	l := r.Ledger
	switch {
	case refused != nil:
		fmt.Printf("refused snapshot %s in %s\n", r.Snapshot, output)
	case r.Unchanged:
		fmt.Printf("nothing has changed since snapshot %s; nothing was published\n", r.Snapshot)
	default:
		fmt.Printf("published snapshot %s to %s\n", r.Snapshot, output)
	}
	fmt.Printf("%d images listed = %d embedded + %d reused + %d quarantined", l.Listed, l.Embedded, l.Reused, l.Quarantined)
	for _, reason := range slices.Sorted(keys(l.Reasons)) {
		fmt.Printf("; %d %s", l.Reasons[reason], reason)
	}
	fmt.Printf("\nlast night %d, new %d, changed %d, deleted %d\n", l.Previous, l.New, l.Changed, l.Deleted)
	fmt.Printf("%.1f s, %.0f images/s\n", r.Seconds, r.ImagesPerSecond)
	for _, task := range slices.Sorted(keys(r.Recall)) {
		if recall := r.Recall[task]; recall >= 0 {
			fmt.Printf("%-16s recall@10 %.4f\n", task, recall)
		}
	}
	return nil
}
