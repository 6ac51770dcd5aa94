package main

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/jobs/train"
	"github.com/facet-search/facet/modulation/train/zoo"
)

func trainCommand() *cobra.Command {
	given := train.Defaults()
	var file, method, profile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "train -c train.yaml",
		Short: "Train a model on labelled images",
		Long: `Trains a network whose embeddings answer one similarity question a task, from random weights or
from an ONNX file, and writes it as a model that facet index runs. A run that was stopped, however,
goes on with --resume as if it had never been.

The job file's keys, all with a default but gallery, labels and output:
` + indent(train.Reference) + `
Flags override the job file.`,
		Args: noArgs,
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "job file (YAML)")
	f.BoolVar(&asJSON, "json", false, "log JSON lines, and end with the result as one JSON line on standard output")
	f.StringVar(&profile, "cpuprofile", "", "write a CPU profile for go tool pprof")
	f.StringVar(&given.Gallery, "gallery", "", "where the images are: s3://bucket/prefix/ or a folder")
	f.StringVar(&given.Output, "output", "", "local folder for model, checkpoint and curves")
	f.StringVar(&given.Network.Start, "start", given.Network.Start, "paper, small, resnet18, or an ONNX file")
	f.StringVar(&method, "method", string(given.Network.Method), "independent, shared, branches, csn, modulation-last, modulation or modulation-all")
	f.StringVar(&given.Train, "train", given.Train, "what is trained: all, or modulation")
	f.IntVar(&given.Recipe.Steps, "steps", given.Recipe.Steps, "steps of the whole run")
	f.Uint64Var(&given.Recipe.Seed, "seed", given.Recipe.Seed, "of weights and batches")
	f.Float64Var(&given.Recipe.Schedule.Rate, "rate", given.Recipe.Schedule.Rate, "highest learning rate")
	f.IntVar(&given.Threads, "threads", given.Threads, "threads of a step")
	f.IntVar(&given.Checkpoint, "checkpoint", given.Checkpoint, "steps from one checkpoint to the next")
	f.BoolVar(&given.Resume, "resume", false, "go on from the output's checkpoint where there is one")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		config, err := trainConfig(f, file, method, &given)
		if err != nil {
			return err
		}
		stop, err := startProfile(profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		p := progress.New(os.Stderr, asJSON)
		defer p.Close()
		r, err := train.Run(c.Context(), config, p)
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

// trainConfig is the job file with the flags above it, checked.
func trainConfig(f *pflag.FlagSet, file, method string, given *train.Config) (train.Config, error) {
	config := train.Defaults()
	var job *jobfile.File
	if file != "" {
		var err error
		if job, err = jobfile.Load(file, &config); err != nil {
			return config, err
		}
	}
	given.Network.Method = zoo.Method(method)
	applyTrain(f, given, &config)
	return config, job.Check(config.Problems())
}

// applyTrain copies the flags that were given.
func applyTrain(f *pflag.FlagSet, given, c *train.Config) {
	copies := map[string]func(){
		"gallery":    func() { c.Gallery = given.Gallery },
		"output":     func() { c.Output = given.Output },
		"start":      func() { c.Network.Start = given.Network.Start },
		"method":     func() { c.Network.Method = given.Network.Method },
		"train":      func() { c.Train = given.Train },
		"steps":      func() { c.Recipe.Steps = given.Recipe.Steps },
		"seed":       func() { c.Recipe.Seed = given.Recipe.Seed },
		"rate":       func() { c.Recipe.Schedule.Rate = given.Recipe.Schedule.Rate },
		"threads":    func() { c.Threads = given.Threads },
		"checkpoint": func() { c.Checkpoint = given.Checkpoint },
		"resume":     func() { c.Resume = given.Resume },
	}
	f.Visit(func(flag *pflag.Flag) {
		if set := copies[flag.Name]; set != nil {
			set()
		}
	})
}
