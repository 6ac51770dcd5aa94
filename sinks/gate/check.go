// Package gate decides whether a snapshot may become the current one. Checks are pure functions of
// figures (Balance, Deleted, Recall, Limits.Drift); Measure reads the figures of two snapshots'
// drift from a sample of what they share.
package gate

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/facet-search/facet/sinks"
)

// ErrRefused means that a snapshot does not pass the gate. CURRENT stays where it is.
var ErrRefused = errors.New("refused by the gate")

// Limits are what a snapshot is held against. Shares and ratios are 0 to 1.
type Limits struct {
	Recall     float64 // least recall@10 of an index
	Neighbours float64 // least share of their 10 neighbours that unchanged images keep
	Centroid   float64 // farthest that the mean vector may move, in lengths of a vector
	Norm       float64 // largest relative change of the vectors' mean length
	Rejected   float64 // largest share of the listed images in quarantine
	Deleted    float64 // largest share of the parent's images that may be gone
}

// leastSpread is the share of the vectors' mean square that lies about their mean. Below it a model says
// nearly the same of every image. Trained networks are above 0.3, untrained ones below 0.001.
const leastSpread = 0.01

// Balance checks that every image of the ledger is accounted for.
func Balance(l sinks.Ledger) sinks.Check {
	c := sinks.Check{Name: "ledger", Value: 1, Limit: 1, OK: true, Text: "every image that was listed is accounted for"}
	if err := l.Balance(); err != nil {
		c.Value, c.OK, c.Text = 0, false, strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return c
}

// Deleted checks the share of the parent's images that are gone. It wants no more of a ledger than
// Previous and Deleted, so it can be asked as soon as the listings are compared.
func Deleted(l sinks.Ledger, limit float64) sinks.Check {
	share := ratio(l.Deleted, l.Previous)
	return atMost("deleted", "", share, limit, "%d of the parent's %d images are gone: a share of %.4f", l.Deleted, l.Previous, share)
}

// Empty is the refusal of a listing without an image, whatever the limits say.
func Empty(l sinks.Ledger) sinks.Check {
	c := Deleted(l, 0)
	c.Text = fmt.Sprintf("the listing is empty, the parent's had %d images; a snapshot of nothing is not published", l.Previous)
	c.OK = false
	return c
}

// Rejected checks the share of the listed images that are in quarantine.
func Rejected(l sinks.Ledger, limit float64) sinks.Check {
	share := ratio(l.Quarantined, l.Listed)
	return atMost("rejected", "", share, limit, "%d of %d images are in quarantine: a share of %.4f", l.Quarantined, l.Listed, share)
}

// Recall checks the recall that an index was measured to have. There is no check of one that holds
// too few vectors to be measured.
func Recall(t sinks.TaskState, limit float64) []sinks.Check {
	if t.Index.Recall < 0 {
		return nil
	}
	return []sinks.Check{atLeast("recall", t.Name, t.Index.Recall, limit, "recall@10 of task %q is %.4f on %d held-out queries (%s, %s)",
		t.Name, t.Index.Recall, t.Index.Queries, t.Index.Factory, orNone(t.Index.Params))}
}

func orNone(params string) string {
	if params == "" {
		return "no search parameters"
	}
	return params
}

// Drift checks how far a task's vectors moved since the parent, and that they tell images apart. Figures that could not be measured are
// not checked.
func (l Limits) Drift(d Drift) []sinks.Check {
	var checks []sinks.Check
	if d.Queries > 0 {
		checks = append(checks, atLeast("neighbours", d.Task, d.Neighbours, l.Neighbours,
			"%d unchanged images keep %.4f of their 10 neighbours of task %q", d.Queries, d.Neighbours, d.Task))
	}
	if d.Vectors > 0 && d.SameModel {
		checks = append(checks, atMost("centroid", d.Task, d.Centroid, l.Centroid,
			"the mean vector of task %q moved by %.4f of a vector's length", d.Task, d.Centroid))
	}
	if d.Vectors > 0 {
		checks = append(checks, atMost("norm", d.Task, d.Norm, l.Norm,
			"the mean length of task %q's vectors changed by a share of %.4f", d.Task, d.Norm))
	}
	if d.Sampled > 0 {
		checks = append(checks, atLeast("spread", d.Task, d.Spread, leastSpread,
			"of the mean square of %d vectors of task %q, a share of %.6f lies about their mean", d.Sampled, d.Task, d.Spread))
	}
	if d.Obstacle != "" {
		checks = append(checks, sinks.Check{Name: "parent", Task: d.Task, OK: true, Text: "the parent can't be compared with: " + d.Obstacle})
	}
	return checks
}

// Verdict is nil, or an ErrRefused that says of every check that failed what it found and what the limit is.
func Verdict(checks []sinks.Check) error {
	var failed []string
	for _, c := range checks {
		if !c.OK {
			failed = append(failed, c.Name+": "+c.Text)
		}
	}
	if failed == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Join(failed, "; "))
}

func atMost(name, task string, value, limit float64, text string, args ...any) sinks.Check {
	return check(sinks.Check{Name: name, Task: task, Value: value, Limit: limit, OK: value <= limit}, "at most", text, args)
}

func atLeast(name, task string, value, limit float64, text string, args ...any) sinks.Check {
	return check(sinks.Check{Name: name, Task: task, Value: value, Limit: limit, OK: value >= limit}, "at least", text, args)
}

// check words a check. A figure that is no number passes nothing, and JSON has no word for it.
func check(c sinks.Check, relation, text string, args []any) sinks.Check {
	c.Text = fmt.Sprintf(text+", the limit is %s %g", append(args, relation, c.Limit)...)
	if math.IsNaN(c.Value) || math.IsInf(c.Value, 0) {
		c.Value, c.OK = -1, false
	}
	return c
}

// ratio is part of all; 0 of nothing.
func ratio(part, all int64) float64 {
	if all == 0 {
		return 0
	}
	return float64(part) / float64(all)
}
