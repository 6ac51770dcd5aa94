package index

import (
	"context"
	"fmt"

	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/gate"
)

func (c *Config) gateLimits() gate.Limits {
	g := c.Gate
	return gate.Limits{
		Recall: g.Recall, Neighbours: g.Neighbours, Centroid: g.Centroid, Norm: g.Norm,
		Rejected: c.Limits.Reject, Deleted: g.Deleted,
	}
}

// checkListing refuses, before an image is read, a listing that has lost too much of the last one. It
// counts what is certainly gone; check counts again when keys have been compared.
func (j *job) checkListing() error {
	n := j.listing.Count()
	if j.previous == nil {
		if n == 0 {
			return fmt.Errorf("%w: %s", ErrEmpty, j.config.Gallery.address())
		}
		return nil
	}
	l := sinks.Ledger{Listed: n, Previous: j.previous.Ledger.Listed}
	l.Deleted = max(0, l.Previous-n)
	if n == 0 {
		return fmt.Errorf("list %s: %w", j.config.Gallery.address(), gate.Verdict([]sinks.Check{gate.Empty(l)}))
	}
	return j.checkDeleted(l)
}

// checkDeleted refuses a listing that has lost too much, before an image is read.
func (j *job) checkDeleted(l sinks.Ledger) error {
	if err := gate.Verdict([]sinks.Check{gate.Deleted(l, j.config.Gate.Deleted)}); err != nil {
		return fmt.Errorf("list %s: %w; no image was read; if so many are meant to be gone, raise gate.deleted for this night",
			j.config.Gallery.address(), err)
	}
	return nil
}

// check holds the snapshot against the gate. All figures go into the manifest, whatever they come to.
func (j *job) check(ctx context.Context) error {
	m, limits := j.manifest, j.config.gateLimits()
	m.Gate = []sinks.Check{gate.Balance(m.Ledger), gate.Deleted(m.Ledger, limits.Deleted), gate.Rejected(m.Ledger, limits.Rejected)}
	j.progress.Start("check", int64(len(m.Tasks)))
	c := gate.Comparison{Was: j.previous, Is: sinks.NewSnapshot(m, j.output), Dir: j.dir, Queries: j.config.Gate.Queries}
	if err := c.Sample(ctx); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	for _, t := range m.Tasks {
		drift, err := c.Measure(ctx, t.Name)
		if err != nil {
			return fmt.Errorf("gate: %w", err)
		}
		m.Gate = append(m.Gate, gate.Recall(t, limits.Recall)...)
		m.Gate = append(m.Gate, limits.Drift(drift)...)
		j.progress.Add(progress.Count{Items: 1})
	}
	j.finish("check")
	return nil
}
