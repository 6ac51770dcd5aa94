package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/search"
)

func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

func searchCommand() *cobra.Command {
	var q search.Query
	var asJSON bool
	c := &cobra.Command{
		Use:   "search --output OUTPUT --task TASK (--image FILE | --key KEY)",
		Short: "Print the nearest neighbours of an image in the current snapshot",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			hits, err := search.Run(c.Context(), q)
			if err != nil {
				return err
			}
			return printHits(hits, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&q.Output, "output", "", "where snapshots are published")
	f.StringVar(&q.Task, "task", "", "the similarity to search by")
	f.StringVar(&q.Image, "image", "", "search for a file's neighbours")
	f.StringVar(&q.Key, "key", "", "search for the neighbours of an image of the gallery")
	f.IntVarP(&q.K, "neighbours", "k", 10, "how many neighbours")
	f.BoolVar(&asJSON, "json", false, "print JSON lines")
	return c
}

func printHits(hits []search.Hit, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetEscapeHTML(false)
		for _, h := range hits {
			if err := e.Encode(h); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "rank\tscore\tkey")
	for i, h := range hits {
		fmt.Fprintf(w, "%d\t%.4f\t%s\n", i+1, h.Score, h.Key)
	}
	return w.Flush()
}
