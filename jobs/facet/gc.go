package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/gc"
)

func gcCommand() *cobra.Command {
	var config gc.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "gc --output OUTPUT",
		Short: "Delete what no kept snapshot needs and what killed runs have left",
		Long: `Deletes the objects below an output that neither the current snapshot, nor its last ancestors, nor the
finished work of an interrupted run names; snapshots that the gate refused before the oldest kept one;
and writes that were never finished. It is refused while a run is at work.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := gc.Run(c.Context(), config, func(g gc.Garbage) {
				if !asJSON {
					fmt.Println(describe(g, config.DryRun))
				}
			})
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(r)
			}
			verb := "deleted"
			if r.DryRun {
				verb = "would delete"
			}
			fmt.Printf("%d snapshots and %d objects stay; %s %d objects and %d unfinished writes, %s\n",
				len(r.Kept), r.Live, verb, r.Deleted, r.Unfinished, humanize.IBytes(uint64(r.Bytes)))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&config.Output, "output", "", "where snapshots are published")
	f.IntVar(&config.Keep, "keep", 3, "ancestors of the current snapshot that stay")
	f.BoolVar(&config.DryRun, "dry-run", false, "say what would be deleted, and delete nothing")
	f.DurationVar(&config.Lease, "lease", 2*time.Minute, "how long it keeps others off the output if it dies")
	f.BoolVar(&asJSON, "json", false, "print the sums as JSON")
	return c
}

// describe is a line for a piece of garbage.
func describe(g gc.Garbage, dry bool) string {
	what := "deleted"
	if dry {
		what = "would delete"
	}
	size := "of unknown size"
	if g.Bytes >= 0 {
		size = humanize.IBytes(uint64(g.Bytes))
	}
	if u := g.Unfinished; u != nil {
		return fmt.Sprintf("%s an unfinished write %q, %s, begun %s", what, u.Key+" "+u.ID, size, u.Since.Format(time.RFC3339))
	}
	return fmt.Sprintf("%s %q, %s", what, g.Path, size)
}
