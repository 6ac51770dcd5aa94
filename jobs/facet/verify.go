package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/jobs/repair"
	"github.com/facet-search/facet/jobs/verify"
)

func verifyCommand() *cobra.Command {
	var o repair.Options
	var asJSON, mend bool
	c := &cobra.Command{
		Use:   "verify --output OUTPUT",
		Short: "Read a snapshot again and check every file, row, id, count and index",
		Long: `Reads a snapshot again and compares everything with everything that it should agree with. --deep computes a
sample of embeddings again from the images. --repair makes again what is damaged in the current snapshot (shards from their
images, indexes from the embeddings), publishes the result as a snapshot of its own, and verifies that.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if mend {
				return runRepair(c, o, asJSON)
			}
			r, err := verify.Check(c.Context(), o.Options)
			if r == nil {
				return err
			}
			return printResult(r, asJSON, func() { printVerified(r) }, err)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Output, "output", "", "where snapshots are published")
	f.StringVar(&o.Snapshot, "snapshot", "", "verify this one (default: the current one)")
	f.BoolVar(&o.Deep, "deep", false, "compute a sample of embeddings again, from the images")
	f.IntVar(&o.Sample, "sample", 100, "with --deep: how many images, about")
	f.BoolVar(&mend, "repair", false, "make again what is damaged, and publish it")
	f.StringVar(&o.Gallery, "gallery", "", "with --deep or --repair: where the images are (default: as the manifest says)")
	f.StringVar(&o.Model, "model", "", "with --repair: the model's file (default: the snapshot's copy)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// printResult prints as JSON or in words, and passes the job's own error on.
func printResult(r any, asJSON bool, words func(), err error) error {
	if !asJSON {
		words()
		return err
	}
	if e := json.NewEncoder(os.Stdout).Encode(r); e != nil {
		return e
	}
	return err
}

func runRepair(c *cobra.Command, o repair.Options, asJSON bool) error {
	p := progress.New(os.Stderr, asJSON)
	defer p.Close()
	out, err := repair.Run(c.Context(), o, p)
	if out == nil || out.Found == nil {
		return err
	}
	p.Close()
	return printResult(out, asJSON, func() { printRepair(out) }, err)
}

func printRepair(out *repair.Outcome) {
	printVerified(out.Found)
	for _, l := range out.Losses {
		fmt.Println("lost:", l)
	}
	if r := out.Repaired; r != nil {
		fmt.Printf("repaired as snapshot %s: %d images embedded again, %d named again\n", r.Snapshot, r.Ledger.Embedded, r.Ledger.Reused)
	}
	if out.After != nil {
		printVerified(out.After)
	}
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
