package verify

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/gate"
)

// structure checks what the manifest says against itself.
func (v *verifier) structure() {
	if err := v.snapshot.Ledger.Balance(); err != nil {
		v.differ("ledger: %v", err)
	}
	perShard, paths := map[string]int{}, map[string]bool{}
	for _, f := range v.snapshot.Files {
		v.Files++
		v.Bytes += f.Bytes
		v.checkName(f)
		if paths[f.Path] {
			v.differ("manifest: %s is named twice", f.Path)
		}
		paths[f.Path] = true
		switch f.Kind {
		case sinks.Items, sinks.Embedding, sinks.ItemsArrow, sinks.EmbeddingArrow:
			perShard[fmt.Sprintf("%s of task %q, shard %d", f.Kind, f.Task, f.Shard)]++
		}
		if _, err := v.snapshot.Task(f.Task); f.Task != "" && err != nil {
			v.differ("manifest: %s is of a task %q that the snapshot has not", f.Path, f.Task)
		}
	}
	for what, n := range perShard {
		if n > 1 {
			v.differ("manifest: %d files for %s", n, what)
		}
	}
	for _, t := range v.snapshot.Tasks {
		files := v.snapshot.Select(sinks.Index, t.Name)
		if len(files) != 1 || files[0].Path != t.Index.Path {
			v.differ("manifest: task %q has the indexes %v, want one, %s", t.Name, files, t.Index.Path)
		}
	}
}

// checkName wants a file that is named by its content to have the content of its name.
func (v *verifier) checkName(f sinks.File) {
	if len(f.SHA256) != 64 {
		v.differ("manifest: %s has no SHA-256 but %q", f.Path, f.SHA256)
		return
	}
	named := ""
	switch f.Kind {
	case sinks.Index:
		named = path.Base(path.Dir(f.Path))
	case sinks.Items, sinks.Embedding, sinks.ItemsArrow, sinks.EmbeddingArrow:
		_, named, _ = strings.Cut(strings.TrimSuffix(path.Base(f.Path), path.Ext(f.Path)), "-")
	case sinks.Model:
		named = strings.TrimSuffix(path.Base(f.Path), ".onnx")
	default:
		return
	}
	if named != f.SHA256[:16] {
		v.blame(f, "its name is that of another content, the manifest gives it SHA-256 %s", f.SHA256)
	}
}

// checkPointer wants a snapshot that was refused to be the current one only by a person's decision.
func (v *verifier) checkPointer(ctx context.Context) error {
	p := v.snapshot.Pointer()
	refusal := gate.Verdict(v.snapshot.Gate)
	if refusal == nil || p.Snapshot == "" || p.Decision != nil {
		return nil
	}
	d, err := sinks.ReadDecision(ctx, v.objects, sinks.Accept, v.snapshot.Snapshot)
	if d == nil && (err == nil || errors.Is(err, sinks.ErrDamaged)) {
		v.differ("CURRENT names a snapshot that nobody accepted after it was %v", refusal)
		return nil
	}
	return err
}

// checkParent compares the ledger with the parent's, if that is still there.
func (v *verifier) checkParent(ctx context.Context) error {
	l := v.snapshot.Ledger
	if v.snapshot.Parent == nil {
		if l.Previous != 0 || l.Deleted != 0 || l.Changed != 0 {
			v.differ("ledger: without a parent, it says that %d images were listed before, %d changed and %d deleted", l.Previous, l.Changed, l.Deleted)
		}
		return nil
	}
	parent, err := sinks.OpenSnapshot(ctx, v.objects, *v.snapshot.Parent)
	switch {
	case errors.Is(err, sinks.ErrNoSnapshot), errors.Is(err, sinks.ErrDamaged):
		return nil // collected since, or at fault itself
	case err != nil:
		return err
	case parent.Ledger.Listed != l.Previous:
		v.differ("ledger: the parent listed %d images, it says %d", parent.Ledger.Listed, l.Previous)
	}
	return nil
}

// checkLedger compares the ledger with what was counted.
func (v *verifier) checkLedger() {
	l := v.snapshot.Ledger
	have := l.Embedded + l.Reused
	if v.Images != have {
		v.differ("ledger: %d images embedded or reused, the items hold %d", have, v.Images)
	}
	if n := int64(len(v.rejects)); n != l.Quarantined {
		v.differ("ledger: %d images in quarantine, it holds %d", l.Quarantined, n)
	}
	if len(l.Tasks) != len(v.snapshot.Tasks) {
		v.differ("ledger: it is of %d tasks, the snapshot has %d", len(l.Tasks), len(v.snapshot.Tasks))
	}
	for _, t := range v.snapshot.Tasks {
		got := l.Tasks[t.Name]
		if got.NTotal != t.Index.NTotal {
			v.differ("ledger: ntotal of %q is %d, its index's %d", t.Name, got.NTotal, t.Index.NTotal)
		}
		if got.Rows != v.rows[t.Name] || got.Computed < 0 || got.Computed > got.Rows {
			v.differ("ledger: %d rows of %q, %d of them computed; the embeddings hold %d", got.Rows, t.Name, got.Computed, v.rows[t.Name])
		}
	}
}

// checkGate does the sums of the gate again, as far as the ledger and the indexes go. A snapshot of before
// there was a gate has no checks.
func (v *verifier) checkGate() {
	done := map[string]bool{}
	for _, c := range v.snapshot.Gate {
		done[c.Name+" "+c.Task] = true
		for _, again := range v.again(c) {
			if again.Value != c.Value || again.OK != c.OK {
				v.differ("gate: check %q of task %q says %v (passed: %v), by the ledger it is %v (%v)",
					c.Name, c.Task, c.Value, c.OK, again.Value, again.OK)
			}
		}
		if most, ok := limited[c.Name]; ok && c.OK != (most && c.Value <= c.Limit || !most && c.Value >= c.Limit) {
			v.differ("gate: check %q of task %q passed: %v, with %v against %v", c.Name, c.Task, c.OK, c.Value, c.Limit)
		}
	}
	if len(v.snapshot.Gate) == 0 {
		return
	}
	want := []string{"ledger ", "deleted ", "rejected "}
	for _, t := range v.snapshot.Tasks {
		if t.Index.Recall >= 0 {
			want = append(want, "recall "+t.Name)
		}
	}
	for _, w := range want {
		if !done[w] {
			v.differ("gate: there is no check %q", strings.TrimSpace(w))
		}
	}
}

// limited are the checks of a figure against a limit: true where the limit is the most that it may be.
var limited = map[string]bool{
	"deleted": true, "rejected": true, "centroid": true, "norm": true, "recall": false, "neighbours": false, "spread": false,
}

// again makes a check once more, where that takes no more than the manifest.
func (v *verifier) again(c sinks.Check) []sinks.Check {
	l := v.snapshot.Ledger
	switch c.Name {
	case "ledger":
		return []sinks.Check{gate.Balance(l)}
	case "deleted":
		return []sinks.Check{gate.Deleted(l, c.Limit)}
	case "rejected":
		return []sinks.Check{gate.Rejected(l, c.Limit)}
	case "recall":
		t, err := v.snapshot.Task(c.Task)
		if err != nil {
			return []sinks.Check{{Value: -1}}
		}
		return gate.Recall(t, c.Limit)
	}
	return nil
}

// reasonsDiffer compares the quarantine's reasons with the ledger's.
func (v *verifier) reasonsDiffer(reasons map[pipeline.Reason]int64) {
	for _, m := range []map[pipeline.Reason]int64{reasons, v.snapshot.Ledger.Reasons} {
		for r := range m {
			if got, want := reasons[r], v.snapshot.Ledger.Reasons[r]; got != want {
				v.differ("quarantine: %d images %s, the ledger says %d", got, r, want)
			}
		}
	}
}
