package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/verify"
)

func verifyCommand() *cobra.Command {
	var output string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify --output OUTPUT",
		Short: "Read the current snapshot again and check every file, row, id, count and index",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := verify.Run(c.Context(), output)
			if r == nil {
				return err
			}
			if asJSON {
				if e := json.NewEncoder(os.Stdout).Encode(r); e != nil {
					return e
				}
				return err
			}
			for _, d := range r.Differences {
				fmt.Println("difference:", d)
			}
			fmt.Printf("snapshot %s: %d files, %d bytes, %d images, %d vectors checked; %d differences\n",
				r.Snapshot, r.Files, r.Bytes, r.Images, r.Vectors, len(r.Differences))
			return err
		},
	}
	c.Flags().StringVar(&output, "output", "", "where snapshots are published")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}
