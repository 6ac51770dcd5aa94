package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/model"
	"github.com/facet-search/facet/modulation"
)

func modelCommand() *cobra.Command {
	c := group("model", "Look at model files, weave tasks into them, and rewrite them")
	c.AddCommand(inspectCommand(), digestCommand(), sitesCommand(), weaveCommand(), foldCommand(), pruneCommand(), cutCommand(), addTaskCommand())
	return c
}

// oneFile wants the command's one argument.
func oneFile(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: want one ONNX file; see `%s --help`", errUsage, c.CommandPath())
	}
	return nil
}

// openModel reads and opens a model that says what its tasks are.
func openModel(name string) (*modulation.Model, []byte, error) {
	file, err := model.Read(name)
	if err != nil {
		return nil, nil, err
	}
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", jobfile.ErrConfig, name, err)
	}
	return m, file, nil
}

func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print a model's tasks, shapes, preprocessing, sites, costs and digests",
		Args:  oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			m, _, err := openModel(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(m.Inspect())
			}
			fmt.Print(m.Inspect())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func digestCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "digest FILE",
		Short: "Print the digests by which embeddings are reused: of the file, the preprocessing, and each task",
		Args:  oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			m, _, err := openModel(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				tasks := map[string]modulation.Digest{}
				for i, t := range m.Tasks {
					tasks[t.Name] = m.Digests.Tasks[i]
				}
				return json.NewEncoder(os.Stdout).Encode(map[string]any{"file": m.Digests.File, "preprocess": m.Digests.Preprocess, "tasks": tasks})
			}
			fmt.Printf("%s file\n%s preprocess\n", m.Digests.File, m.Digests.Preprocess)
			for i, t := range m.Tasks {
				fmt.Printf("%s task %s\n", m.Digests.Tasks[i], t.Name)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
