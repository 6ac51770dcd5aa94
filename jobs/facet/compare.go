package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/compare"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
)

func compareCommand() *cobra.Command {
	var file, output string
	var cores int
	var asJSON bool
	c := &cobra.Command{
		Use:   "compare -c compare.yaml",
		Short: "Train the paper's methods alike, with several seeds, and print one table",
		Long: `Trains every method with every seed on the training split of a labelled gallery, measures each as
facet evaluate does, and prints accuracy, size and speed in one table. The tables are also left in
the output's folder as table.txt, table.md, table.csv and comparison.json, and each run's model
beside them. Finished runs are kept and running ones saved: the same command goes on where it was
stopped.

The job file's keys:
` + indent(compare.Reference),
		Args: noArgs,
	}
	c.Flags().StringVarP(&file, "config", "c", "", "job file (YAML)")
	c.Flags().StringVar(&output, "output", "", "folder of finished runs, instead of the job file's")
	c.Flags().IntVar(&cores, "cores", 0, "runs at a time, one thread each, instead of the job file's")
	c.Flags().BoolVar(&asJSON, "json", false, "log JSON lines, and end with the result as one JSON line on standard output")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if file == "" {
			return fmt.Errorf("%w: compare wants -c", errUsage)
		}
		config := compare.Defaults()
		job, err := jobfile.Load(file, &config)
		if err != nil {
			return err
		}
		if output != "" {
			config.Output = output
		}
		if cores != 0 {
			config.Cores = cores
		}
		if err := job.Check(config.Validate()); err != nil {
			return err
		}
		p := progress.New(os.Stderr, asJSON)
		defer p.Close()
		r, err := compare.Run(c.Context(), config, p)
		if err != nil {
			return err
		}
		p.Close()
		if asJSON {
			return json.NewEncoder(os.Stdout).Encode(r)
		}
		return r.WriteText(os.Stdout)
	}
	return c
}
