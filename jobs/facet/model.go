package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/modulation"
)

func modelCommand() *cobra.Command {
	c := group("model", "Look at model files")
	c.AddCommand(inspectCommand())
	return c
}

func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print a model's tasks, shapes, preprocessing, costs and digests",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%w: want one ONNX file; see `%s --help`", errUsage, c.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("%w: %w", jobfile.ErrConfig, err)
			}
			m, err := modulation.Open(file, modulation.Overrides{})
			if err != nil {
				return fmt.Errorf("%w: %s: %w", jobfile.ErrConfig, args[0], err)
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
