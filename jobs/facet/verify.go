package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/verify"
)

func verifyCommand() *cobra.Command {
	var o verify.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify --output OUTPUT",
		Short: "Read a snapshot again and check every file, row, id, count and index",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := verify.Check(c.Context(), o)
			if r == nil {
				return err
			}
			if asJSON {
				if e := json.NewEncoder(os.Stdout).Encode(r); e != nil {
					return e
				}
				return err
			}
			printVerified(r)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&o.Output, "output", "", "where snapshots are published")
	f.StringVar(&o.Snapshot, "snapshot", "", "verify this one (default: the current one)")
	f.BoolVar(&o.Deep, "deep", false, "compute a sample of embeddings again, from the images")
	f.IntVar(&o.Sample, "sample", 100, "with --deep: how many images, about")
	f.StringVar(&o.Gallery, "gallery", "", "with --deep: where the images are (default: as the manifest says)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func printVerified(r *verify.Report) {
	for _, d := range r.Differences {
		fmt.Println("difference:", d)
	}
	if r.Deep != nil {
		for _, key := range r.Deep.Moved {
			fmt.Printf("the image has changed since: %q\n", key)
		}
		fmt.Printf("%d images embedded again, the least cosine is %.6f; %d images have changed since\n", r.Deep.Images, r.Deep.LeastCosine, len(r.Deep.Moved))
	}
	fmt.Printf("snapshot %s: %d files, %d bytes, %d images, %d vectors checked, %d searched for; %d differences\n",
		r.Snapshot, r.Files, r.Bytes, r.Images, r.Vectors, r.Searched, len(r.Differences))
}
