package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/diff"
)

func diffCommand() *cobra.Command {
	var r diff.Request
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff A B --output OUTPUT",
		Short: "Print what changed from snapshot A to snapshot B: images, recalls, neighbours",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("%w: want two snapshots; see `%s --help`", errUsage, c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			r.A, r.B = args[0], args[1]
			show := someChanges()
			if asJSON {
				show = allChanges()
			}
			report, err := diff.Run(c.Context(), r, show)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(report)
			}
			printDiff(report)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&r.Output, "output", "", "where snapshots are published")
	f.StringVar(&r.Task, "task", "", "only this task (default: all)")
	f.IntVar(&r.Queries, "queries", 200, "unchanged images to search for in both snapshots")
	f.BoolVar(&asJSON, "json", false, "print every image that differs as a JSON line, and the report as the last")
	return c
}

// shown images of each kind are named unless --json asks for all.
const shown = 5

func someChanges() func(diff.Change) error {
	n := map[diff.Kind]int{}
	return func(c diff.Change) error {
		if n[c.Kind]++; n[c.Kind] <= shown {
			fmt.Printf("%-9s %q\n", c.Kind, c.Key)
		}
		if n[c.Kind] == shown+1 {
			fmt.Printf("%-9s … (--json lists all)\n", c.Kind)
		}
		return nil
	}
}

func allChanges() func(diff.Change) error {
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	return func(c diff.Change) error { return e.Encode(c) }
}

func printDiff(r *diff.Report) {
	fmt.Printf("%d images before, %d after: %d added, %d removed, %d changed, %d relisted; read %d of %d shards\n",
		r.Images[0], r.Images[1], r.Counts[diff.Added], r.Counts[diff.Removed], r.Counts[diff.Changed], r.Counts[diff.Relisted], r.Shards, r.Of)
	for _, t := range r.Tasks {
		if t.Only != "" {
			fmt.Printf("%-16s only in %s\n", t.Task, map[string]string{"a": r.A, "b": r.B}[t.Only])
			continue
		}
		fmt.Printf("%-16s recall@10 %.4f → %.4f (%s → %s), %d embeddings files differ", t.Task, t.Recall[0], t.Recall[1], t.Index[0], t.Index[1], t.Files)
		if d := t.Drift; d.Queries > 0 {
			fmt.Printf(", neighbours kept %.4f of %d images", d.Neighbours, d.Queries)
		}
		if d := t.Drift; d.Vectors > 0 && d.SameModel {
			fmt.Printf(", mean moved %.4f", d.Centroid)
		}
		if t.Drift.Obstacle != "" {
			fmt.Printf(", not compared: %s", t.Drift.Obstacle)
		}
		fmt.Println()
	}
}
