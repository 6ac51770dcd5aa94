package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/picture"
)

func pictureCommand() *cobra.Command {
	var s picture.Spec
	var to string
	c := &cobra.Command{
		Use:   "picture --output OUTPUT --gallery GALLERY --key KEY… --to FILE.png",
		Short: "Draw images with their nearest neighbours in the current snapshot, one row a task",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return fmt.Errorf("%w: picture wants --to", jobfile.ErrConfig)
			}
			data, err := picture.Render(c.Context(), s)
			if err != nil {
				return err
			}
			if err := os.WriteFile(to, data, 0o644); err != nil {
				return fmt.Errorf("picture: %w", err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&s.Output, "output", "", "where snapshots are published")
	f.StringVar(&s.Gallery, "gallery", "", "where the images are: s3://bucket/prefix/ or a folder")
	f.StringArrayVar(&s.Keys, "key", nil, "an image of the gallery; several may be given")
	f.StringSliceVar(&s.Tasks, "tasks", nil, "tasks to show (default: all)")
	f.IntVarP(&s.K, "neighbours", "k", 9, "neighbours a row")
	f.StringVar(&to, "to", "", "the PNG file to write")
	return c
}
