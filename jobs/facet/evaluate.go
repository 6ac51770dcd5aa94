package main

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/facet-search/facet/jobs/evaluate"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
)

func evaluateCommand() *cobra.Command {
	given := evaluate.Defaults()
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "evaluate -c evaluate.yaml",
		Short: "Measure how well a model or a published snapshot tells a labelled gallery's classes apart",
		Long: `Embeds the images of a labelled gallery with a model, or takes the embeddings of a published
snapshot, and measures for every task the accuracy of triplets, recall@1, recall@10 and the mean
average precision of exact retrieval.

The job file's keys:
` + indent(evaluate.Reference) + `
Flags override the job file.`,
		Args: noArgs,
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "job file (YAML)")
	f.BoolVar(&asJSON, "json", false, "log JSON lines, and end with the result as one JSON line on standard output")
	f.StringVar(&given.Gallery, "gallery", "", "where the images are: s3://bucket/prefix/ or a folder")
	f.StringVar(&given.Model.Path, "model", "", "ONNX file")
	f.StringVar(&given.Output, "output", "", "evaluate the snapshot published here instead of a model")
	f.StringSliceVar(&given.Tasks, "tasks", nil, "tasks to measure")
	f.StringVar(&given.Measure.Queries, "queries", given.Measure.Queries, "train, val, test or all: the images searched for")
	f.StringVar(&given.Measure.Against, "against", given.Measure.Against, "train, val, test or all: the images searched")
	f.IntVar(&given.Measure.Limit, "limit", 0, "search only that many first images; 0: all")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config := evaluate.Defaults()
		var job *jobfile.File
		if file != "" {
			var err error
			if job, err = jobfile.Load(file, &config); err != nil {
				return err
			}
		}
		applyEvaluate(f, &given, &config)
		if err := job.Check(config.Validate()); err != nil {
			return err
		}
		p := progress.New(os.Stderr, asJSON)
		defer p.Close()
		r, err := evaluate.Run(c.Context(), config, p)
		if err != nil {
			return err
		}
		p.Close()
		if asJSON {
			return json.NewEncoder(os.Stdout).Encode(r)
		}
		return r.WriteTable(os.Stdout)
	}
	return c
}

// applyEvaluate copies the flags that were given. A source on the command line replaces the file's.
func applyEvaluate(f *pflag.FlagSet, given, c *evaluate.Config) {
	copies := map[string]func(){
		"gallery": func() { c.Gallery, c.Output = given.Gallery, given.Output },
		"model":   func() { c.Model.Path, c.Output = given.Model.Path, given.Output },
		"output":  func() { c.Output, c.Gallery, c.Model.Path = given.Output, given.Gallery, given.Model.Path },
		"tasks":   func() { c.Tasks = given.Tasks },
		"queries": func() { c.Measure.Queries = given.Measure.Queries },
		"against": func() { c.Measure.Against = given.Measure.Against },
		"limit":   func() { c.Measure.Limit = given.Measure.Limit },
	}
	f.Visit(func(flag *pflag.Flag) {
		if set := copies[flag.Name]; set != nil {
			set()
		}
	})
}
