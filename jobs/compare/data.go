package compare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/labels"
)

// data is what all runs have in common. They only read it.
type data struct {
	images  store.Store
	gallery *labels.Gallery
	dataset train.Dataset // of the training split
	digest  string        // of all labels and of the training split's pixels
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
	keys := make([]string, len(rows))
	for i, r := range rows {
		keys[i] = d.gallery.Keys[r]
	}
	loader := labelled.Loader{Images: images, Preprocess: c.Preprocess, Cores: c.Cores, Reject: c.Reject}
	pixels, read, err := loader.Load(ctx, keys, p)
	if err != nil {
		return nil, err
	}
	kept := make([]int, len(read))
	for i, r := range read {
		kept[i] = rows[r]
	}
	return d, d.prepare(c, d.gallery.Select(kept), pixels)
}

// prepare makes the dataset of the images that could be read.
func (d *data) prepare(c Config, g *labels.Gallery, pixels []byte) error {
	pre, shape := c.Preprocess, c.options().Image
	im := &train.Images{Shape: shape, Pixels: pixels, Scale: float32(pre.Scale)}
	for i := range 3 {
		im.Mean[i], im.Std[i] = float32(pre.Mean[i]), float32(pre.Std[i])
	}
	l := &train.Labels{Tasks: g.Names()}
	for _, t := range g.Tasks {
		l.Classes = append(l.Classes, t.IDs)
	}
	sampler, err := samplerOf(g, l, c.Recipe)
	if err != nil {
		return fmt.Errorf("%w: labels: %w", jobfile.ErrConfig, err)
	}
	d.digest = d.sum(pixels)
	d.dataset = train.Dataset{Images: im, Labels: l, Sampler: sampler, Digest: d.digest}
	return nil
}

// samplerOf draws from the given triplets where every task has them, else from the classes.
func samplerOf(g *labels.Gallery, l *train.Labels, r train.Recipe) (train.Sampler, error) {
	var lists train.Lists
	for _, t := range g.Tasks {
		if list := t.Triplets[labels.Train]; len(list) > 0 {
			lists = append(lists, orders(list))
		}
	}
	if len(lists) == len(g.Tasks) && r.Loss == train.Triplet {
		return lists, lists.Check(g.Len())
	}
	all := make([]int32, g.Len())
	for i := range all {
		all[i] = int32(i)
	}
	return train.NewLabelled(l, all, r.Loss, r.Batch)
}

// orders are triplets in the order that training wants.
func orders(list []labels.Triplet) (triplets [][3]int32) {
	for _, t := range list {
		triplets = append(triplets, [3]int32{t.Anchor, t.Near, t.Far})
	}
	return triplets
}

// sum identifies the data.
func (d *data) sum(pixels []byte) string {
	h := sha256.New()
	d.describe(h)
	h.Write(pixels)
	return hex.EncodeToString(h.Sum(nil))
}

func (d *data) describe(h hash.Hash) {
	e := json.NewEncoder(h) // a hash takes everything
	_ = e.Encode(d.gallery)
}
