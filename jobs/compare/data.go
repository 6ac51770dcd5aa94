package compare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	job "github.com/facet-search/facet/jobs/train"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/labels"
)

// data is what all runs have in common. They only read it.
type data struct {
	images   store.Store
	gallery  *labels.Gallery
	training *job.Data     // the training split
	dataset  train.Dataset // of it
}

// openData reads the labels, and the pixels of the training split.
func openData(ctx context.Context, c Config, p *progress.Progress) (*data, error) {
	images, err := store.Open(ctx, c.Gallery)
	if err != nil {
		return nil, fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	d := &data{images: images}
	if d.gallery, err = labelled.Open(ctx, c.Labels, images); err != nil {
		return nil, err
	}
	if _, err := c.Measure.Rows(d.gallery); err != nil {
		return nil, err
	}
	rows := d.gallery.In(labels.Train)
	if len(rows) == 0 || d.gallery.Splits == nil {
		return nil, fmt.Errorf("%w: labels: no image is in the split train; give labels.split or labels.group", jobfile.ErrConfig)
	}
	if d.training, err = loadTraining(ctx, c, d, rows, p); err != nil {
		return nil, err
	}
	d.dataset, err = d.training.Dataset(c.Recipe)
	return d, err
}

// loadTraining reads the pixels of the training split.
func loadTraining(ctx context.Context, c Config, d *data, rows []int, p *progress.Progress) (*job.Data, error) {
	g := d.gallery.Select(rows)
	l := job.Loader{Images: d.images, Preprocess: c.Preprocess, Memory: int64(c.Memory), Cores: c.Cores, Fetch: fetches, Reject: c.Reject}
	return l.Load(ctx, g, g.In(labels.Train), p)
}

// fetches is how many objects are read at a time.
const fetches = 16

// digest identifies all labels and the training split's pixels.
func (d *data) digest() string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(d.gallery) // a hash takes everything
	return hex.EncodeToString(h.Sum(nil)) + d.dataset.Digest
}
