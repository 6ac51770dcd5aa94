package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/publish"
	"github.com/facet-search/facet/jobs/snapshots"
	"github.com/facet-search/facet/sinks"
)

func snapshotsCommand() *cobra.Command {
	var output string
	var asJSON bool
	c := &cobra.Command{
		Use:   "snapshots --output OUTPUT",
		Short: "List the snapshots below an output, and which of them is current",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			entries, err := snapshots.List(c.Context(), output)
			if err != nil {
				return err
			}
			return printSnapshots(entries, asJSON)
		},
	}
	c.Flags().StringVar(&output, "output", "", "where snapshots are published")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	return c
}

func printSnapshots(entries []snapshots.Entry, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		for _, s := range entries {
			if err := e.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "snapshot\tcreated\timages\tnew\tchanged\tdeleted\tquarantined\tstate\trecall@10")
	for _, s := range entries {
		l := s.Ledger
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", s.Snapshot, s.Created.Format("2006-01-02 15:04:05"), l.Embedded+l.Reused,
			l.New, l.Changed, l.Deleted, l.Quarantined, state(s), recalls(s.Recall))
	}
	return w.Flush()
}

// state is a snapshot's, with who decided.
func state(s snapshots.Entry) string {
	text := string(s.State)
	if s.Accepted != nil && s.State != snapshots.Accepted {
		text += ", accepted"
	}
	if s.Accepted != nil {
		text += " by " + s.Accepted.By
	}
	if s.State == snapshots.RolledBack {
		text += ", rolled back by " + s.RolledBk.By
	}
	return strings.Replace(text, "rolled back, rolled back by", "rolled back by", 1)
}

func recalls(m map[string]float64) string {
	var text []string
	for _, task := range slices.Sorted(keys(m)) {
		if m[task] < 0 {
			text = append(text, task+" -")
			continue
		}
		text = append(text, fmt.Sprintf("%s %.4f", task, m[task]))
	}
	return strings.Join(text, ", ")
}

func publishCommand() *cobra.Command {
	var r publish.Request
	c := &cobra.Command{
		Use:   "publish --output OUTPUT --accept ID --by NAME --reason TEXT",
		Short: "Make a snapshot the current one although the gate refused it",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := publish.Accept(c.Context(), r)
			return printDecision(d, err)
		},
	}
	decisionFlags(c, &r)
	c.Flags().StringVar(&r.Snapshot, "accept", "", "the snapshot's id")
	return c
}

func rollbackCommand() *cobra.Command {
	var r publish.Request
	c := &cobra.Command{
		Use:   "rollback --output OUTPUT [--to ID] --by NAME --reason TEXT",
		Short: "Make an earlier snapshot the current one",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := publish.Rollback(c.Context(), r)
			return printDecision(d, err)
		},
	}
	decisionFlags(c, &r)
	c.Flags().StringVar(&r.Snapshot, "to", "", "the snapshot's id (default: the current one's parent)")
	return c
}

func decisionFlags(c *cobra.Command, r *publish.Request) {
	f := c.Flags()
	f.StringVar(&r.Output, "output", "", "where snapshots are published")
	f.StringVar(&r.By, "by", "", "who decides")
	f.StringVar(&r.Reason, "reason", "", "why")
}

func printDecision(d *sinks.Decision, err error) error {
	if d != nil {
		fmt.Printf("snapshot %s is current (%s by %s); before: %s\n", d.To, d.What, d.By, d.From)
	}
	return err
}
