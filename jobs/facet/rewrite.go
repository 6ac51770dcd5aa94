package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/model"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/weave"
)

// rewriteCommand is a command that makes a model file of another one. do is given the file's bytes.
func rewriteCommand(c *cobra.Command, do func(file []byte) ([]byte, error)) *cobra.Command {
	var output string
	var force bool
	c.Args = oneFile
	c.Flags().StringVarP(&output, "output", "o", "", "file to write (required)")
	c.Flags().BoolVar(&force, "force", false, "replace the output if it is there already, even if it is the input")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if output == "" {
			return fmt.Errorf("%w: --output is missing; see `%s --help`", errUsage, c.CommandPath())
		}
		if _, err := os.Stat(output); err == nil && !force { // before the work; Write makes sure of it
			return fmt.Errorf("%w: %s is there already: name another --output, or say --force to replace it", errUsage, output)
		}
		file, err := model.Read(args[0])
		if err != nil {
			return err
		}
		made, err := do(file)
		if errors.Is(err, jobfile.ErrConfig) || errors.Is(err, errUsage) {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %s: %w", jobfile.ErrConfig, args[0], err)
		}
		if err := model.Write(output, made, force); err != nil {
			return err
		}
		return summarise(output, file, made)
	}
	return c
}

// summarise says what became of the model.
func summarise(output string, before, after []byte) error {
	m, err := modulation.Open(after, modulation.Overrides{})
	if err != nil {
		return fmt.Errorf("%s: %w", output, err)
	}
	in := m.Inspect()
	fmt.Printf("%s: %d tasks, %s, %d bytes\n", output, len(in.Tasks), in.Cost, in.Bytes)
	if m, err := modulation.Open(before, modulation.Overrides{}); err == nil {
		was := m.Inspect()
		fmt.Printf("before: %d tasks, %s, %d bytes\n", len(was.Tasks), was.Cost, was.Bytes)
	}
	return nil
}

func weaveCommand() *cobra.Command {
	var w modulation.Weaving
	var sites, tasks []string
	var scales, preprocess string
	var unfolded bool
	var copies int
	c := &cobra.Command{
		Use:   "weave FILE --sites SITE,… --scales FILE --output FILE",
		Short: "Weave tasks into a CNN: scale its channels at sites, compute the trunk once and the tail once a task",
		Long: "Weave tasks into a CNN of one output. Sites are tensors by name or rules: auto:stageN is the last activation at\n" +
			"the N-th resolution from the input, auto:last the last of these, auto:embedding the vector before it is normalised;\n" +
			"`facet model sites` lists them. The scales are a YAML or JSON file:\n" +
			"  sites: [auto:stage4, auto:embedding]\n  tasks: {colour: [[1, 0.5, …], [1, …]], …}    # one vector a site\n" +
			"What comes out is folded, unless --unfolded says otherwise.",
	}
	f := c.Flags()
	f.StringSliceVar(&sites, "sites", nil, "where channels are scaled; overrides the sites of --scales")
	f.StringVar(&scales, "scales", "", "file of the scales of every task")
	f.StringSliceVar(&tasks, "tasks", nil, "tasks to weave in: some of --scales, or, without it, tasks that scale nothing yet")
	f.StringVar(&w.Output, "embedding", "", "tensor that becomes the embedding (default: the graph's one output)")
	f.StringVar(&preprocess, "preprocess", "", "file (YAML or JSON) that says how images become the input, where the model does not")
	f.BoolVar(&unfolded, "unfolded", false, "leave scales and batch norms as nodes of their own")
	f.IntVar(&copies, "copies", 0, "do not fold scales into layers with more weights than this (0: into any)")
	return rewriteCommand(c, func(file []byte) ([]byte, error) {
		if err := fillWeaving(&w, sites, tasks, scales, preprocess); err != nil {
			return nil, err
		}
		made, err := modulation.Weave(file, w)
		if err != nil || unfolded {
			return made, err
		}
		return modulation.Fold(made, copies)
	})
}

// fillWeaving reads the files that the flags name.
func fillWeaving(w *modulation.Weaving, sites, tasks []string, scales, preprocess string) error {
	w.Scales = map[string][][]float32{}
	if scales != "" {
		s, err := model.ReadScales(scales)
		if err != nil {
			return err
		}
		w.Sites, w.Scales = s.Sites, s.Tasks
	} else if len(tasks) == 0 {
		return fmt.Errorf("%w: want --scales, or --tasks that scale nothing yet", errUsage)
	}
	if len(sites) > 0 {
		w.Sites = sites
	}
	if len(w.Sites) == 0 {
		return fmt.Errorf("%w: want --sites, or sites in the file of --scales", errUsage)
	}
	for _, t := range tasks {
		read, ok := w.Scales[t]
		if !ok && scales != "" {
			return fmt.Errorf("%w: %s has no scales of task %q", errUsage, scales, t)
		}
		w.Scales[t] = read // none: the task is there and scales nothing
	}
	for t := range w.Scales {
		if len(tasks) > 0 && !slices.Contains(tasks, t) {
			delete(w.Scales, t)
		}
	}
	if preprocess == "" {
		return nil
	}
	p, err := model.ReadPreprocess(preprocess)
	w.Preprocess = p
	return err
}

func sitesCommand() *cobra.Command {
	var embedding, preprocess string
	c := &cobra.Command{
		Use:   "sites FILE",
		Short: "List the sites of a CNN that rules name: where tasks can be woven in",
		Args:  oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := model.Read(args[0])
			if err != nil {
				return err
			}
			w := modulation.Weaving{Output: embedding}
			if preprocess != "" {
				if w.Preprocess, err = model.ReadPreprocess(preprocess); err != nil {
					return err
				}
			}
			found, err := modulation.FindSites(file, w)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", jobfile.ErrConfig, args[0], err)
			}
			for _, s := range found {
				fmt.Println(s)
			}
			return nil
		},
	}
	c.Flags().StringVar(&embedding, "embedding", "", "tensor that becomes the embedding (default: the graph's first output)")
	c.Flags().StringVar(&preprocess, "preprocess", "", "file (YAML or JSON) that says how images become the input, where the model does not")
	return c
}

func foldCommand() *cobra.Command {
	var copies int
	c := &cobra.Command{
		Use:   "fold FILE --output FILE",
		Short: "Multiply scales and batch norms into the weights beside them",
	}
	c.Flags().IntVar(&copies, "copies", 0, "do not fold scales into shared layers with more weights than this (0: into any): each task needs a copy of these")
	return rewriteCommand(c, func(file []byte) ([]byte, error) { return modulation.Fold(file, copies) })
}

func pruneCommand() *cobra.Command {
	var opt weave.Pruning
	c := &cobra.Command{
		Use:   "prune FILE --output FILE",
		Short: "Drop channels that are dead for a task from its tail (of a model that has been folded)",
	}
	c.Flags().IntVar(&opt.Multiple, "multiple", 1, "keep numbers of channels a multiple of this; engines work on blocks of 8 or 16")
	c.Flags().BoolVar(&opt.Copy, "copy", false, "prune layers whose weights tasks share, too: fewer multiplications, more weights")
	return rewriteCommand(c, func(file []byte) ([]byte, error) {
		if opt.Multiple < 1 {
			return nil, fmt.Errorf("%w: --multiple is %d, want at least 1", errUsage, opt.Multiple)
		}
		return modulation.Prune(file, opt)
	})
}

func cutCommand() *cobra.Command {
	var tasks []string
	c := &cobra.Command{
		Use:   "cut FILE --tasks TASK,… --output FILE",
		Short: "Make a model of some of a model's tasks; their digests stay",
	}
	c.Flags().StringSliceVar(&tasks, "tasks", nil, "tasks to keep (required)")
	return rewriteCommand(c, func(file []byte) ([]byte, error) { return modulation.Cut(file, tasks) })
}

func addTaskCommand() *cobra.Command {
	var from string
	var tasks []string
	c := &cobra.Command{
		Use:   "add-task FILE --from OTHER --output FILE",
		Short: "Add the tasks of another model on the same trunk; the bits and digests of the model's own stay",
	}
	c.Flags().StringVar(&from, "from", "", "model with the new tasks, woven into or trained on the same trunk (required)")
	c.Flags().StringSliceVar(&tasks, "tasks", nil, "tasks to add (default: all of the other model's)")
	return rewriteCommand(c, func(file []byte) ([]byte, error) {
		if from == "" {
			return nil, fmt.Errorf("%w: --from is missing", errUsage)
		}
		other, err := model.Read(from)
		if err != nil {
			return nil, err
		}
		return modulation.AddTasks(file, other, tasks)
	})
}
