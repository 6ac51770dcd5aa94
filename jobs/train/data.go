package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/metrics"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/imaging"
	"github.com/facet-search/facet/stages/labels"
)

// Data is a labelled gallery, decoded to the network's input size and held in memory.
type Data struct {
	Gallery *labels.Gallery
	Images  *train.Images // row i of the gallery; of rows that are not needed or not readable, black
	Have    []bool        // the rows that hold an image
	Digest  string        // of keys, labels, splits and pixels
}

// Loader reads and decodes images.
type Loader struct {
	Images     store.Store
	Preprocess pipeline.Preprocess
	Memory     int64 // bytes of pixels at most
	Cores      int
	Fetch      int
	Reject     float64 // share of the images that may be unreadable
}

// Limits of one image, as `facet index` has them by default.
var limits = imaging.Limits{Bytes: 64 << 20, Pixels: 64e6, Scans: 100}

// Load decodes the named rows of a gallery into one buffer. Too many unreadable images are a
// sinks.ErrRejects, too little memory is a jobfile.ErrConfig.
func (l *Loader) Load(ctx context.Context, g *labels.Gallery, rows []int, p *progress.Progress) (*Data, error) {
	h, w := l.Preprocess.Output()
	if bytes := int64(g.Len()) * int64(h) * int64(w) * 3; bytes > l.Memory {
		return nil, fmt.Errorf("%w: memory: %s images of %d×%d take %s, but memory is %s; raise it, or lower preprocess.size",
			jobfile.ErrConfig, humanize.Comma(int64(g.Len())), h, w, humanize.IBytes(uint64(bytes)), humanize.IBytes(uint64(l.Memory)))
	}
	d := &Data{Gallery: g, Images: &train.Images{Shape: network.Shape{3, h, w}, Scale: float32(l.Preprocess.Scale)}, Have: make([]bool, g.Len())}
	for c := range 3 {
		d.Images.Mean[c], d.Images.Std[c] = float32(l.Preprocess.Mean[c]), float32(l.Preprocess.Std[c])
	}
	d.Images.Pixels = make([]byte, g.Len()*d.Images.Shape.Size())
	pixels, data := &stages.Buffers{}, &stages.Buffers{}
	decode, err := stages.NewDecode(l.Preprocess, limits, l.Cores, pixels, data)
	if err != nil {
		return nil, err
	}
	into := &collect{data: d, buffers: pixels, limit: int(l.Reject * float64(len(rows))), progress: p}
	p.Start("load", int64(len(rows)))
	f := pipeline.NewFlow(ctx)
	budget := stages.NewBudget(int64(l.Fetch)*limits.Bytes, limits.Bytes)
	items := pipeline.Through(f, "admit", pipeline.From(f, pipeline.Slice(labelled.ItemsOf(g.Keys, rows))), stages.Admit{Budget: budget}, 1)
	fetched := pipeline.Through(f, "fetch", items, stages.NewFetch(objects{l.Images}, limits.Bytes, data), l.Fetch)
	pipeline.Into(f, pipeline.Through(f, "decode", fetched, decode, l.Cores), into)
	if err := f.Commit(ctx, into); err != nil {
		return nil, err
	}
	p.Finish()
	d.Digest = d.digest()
	return d, nil
}

// collect is the sink that fills the buffer of pixels.
type collect struct {
	data     *Data
	buffers  *stages.Buffers
	rejected int
	limit    int
	progress *progress.Progress
}

// Write implements pipeline.Sink.
func (c *collect) Write(_ context.Context, it *pipeline.Item) error {
	n := progress.Count{Items: 1, Bytes: max(it.Size, 0)}
	if it.Reject != nil {
		n.Rejects = 1
		c.rejected++
		if c.rejected > c.limit {
			return fmt.Errorf("%w: %d of at most %d; the last is %q: %w", sinks.ErrRejects, c.rejected, c.limit, it.Key, it.Reject)
		}
	} else {
		size := c.data.Images.Shape.Size()
		copy(c.data.Images.Pixels[int(it.ID)*size:], it.Pixels)
		c.data.Have[it.ID] = true
		c.buffers.Put(it.Pixels)
		it.Pixels = nil
	}
	c.progress.Add(n)
	return nil
}

// Commit implements pipeline.Committer.
func (c *collect) Commit(context.Context) error { return nil }

// objects reads the gallery for the fetch stage.
type objects struct{ store.Store }

// ReadObject implements stages.Objects.
func (o objects) ReadObject(ctx context.Context, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	data, ref, err := store.ReadObject(ctx, o.Store, key, buf, limit)
	if errors.Is(err, store.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", stages.ErrTooLarge, err)
	}
	return data, ref, err
}

func (d *Data) digest() string {
	h := sha256.New()
	g := d.Gallery
	for i, k := range g.Keys {
		fmt.Fprintf(h, "%q %v", k, d.Have[i])
		if g.Splits != nil {
			fmt.Fprintf(h, " %s", g.Splits[i])
		}
		for _, t := range g.Tasks {
			fmt.Fprintf(h, " %d", t.IDs[i])
		}
		fmt.Fprintln(h)
	}
	for _, t := range g.Tasks {
		fmt.Fprintf(h, "%q %q\n", t.Name, t.Classes)
		for s := labels.Nowhere; s <= labels.Test; s++ {
			_ = binary.Write(h, binary.LittleEndian, t.Triplets[s]) // into a hash, which never fails
		}
	}
	h.Write(d.Images.Pixels)
	return hex.EncodeToString(h.Sum(nil))
}

// In lists the rows of a split that hold an image: of all splits where the gallery has none.
func (d *Data) In(s labels.Split) (rows []int) {
	for _, r := range d.Gallery.In(s) {
		if d.Have[r] {
			rows = append(rows, r)
		}
	}
	return rows
}

// Dataset is what a trainer draws from: the training split's labels, or its lists of triplets where
// every task has one and the loss wants triplets.
func (d *Data) Dataset(r train.Recipe) (train.Dataset, error) {
	set := train.Dataset{Images: d.Images, Labels: &train.Labels{Tasks: d.Gallery.Names()}, Digest: d.Digest}
	for _, t := range d.Gallery.Tasks {
		set.Labels.Classes = append(set.Labels.Classes, t.IDs)
	}
	if lists := d.lists(); r.Loss == train.Triplet && lists != nil {
		set.Sampler = lists
		return set, lists.Check(d.Images.Len())
	}
	var among []int32
	for _, r := range d.In(labels.Train) {
		among = append(among, int32(r))
	}
	s, err := train.NewLabelled(set.Labels, among, r.Loss, r.Batch)
	if err != nil {
		return set, fmt.Errorf("%w: labels: the training split: %w", jobfile.ErrConfig, err)
	}
	set.Sampler = s
	return set, nil
}

// lists are the training split's triplets, of all tasks or nil.
func (d *Data) lists() train.Lists {
	var lists train.Lists
	for _, t := range d.Gallery.Tasks {
		var list [][3]int32
		for _, l := range t.Triplets[labels.Train] {
			if d.Have[l.Anchor] && d.Have[l.Near] && d.Have[l.Far] {
				list = append(list, [3]int32{l.Anchor, l.Near, l.Far})
			}
		}
		if list == nil {
			return nil
		}
		lists = append(lists, list)
	}
	return lists
}

// Triplets are the validation split's, as positions in rows: the lists that the gallery holds, or drawn
// from its labels; nil for a task without enough of them.
func (d *Data) Triplets(rows []int, n int, seed uint64) [][]metrics.Triplet {
	at := make(map[int32]int32, len(rows))
	for i, r := range rows {
		at[int32(r)] = int32(i)
	}
	out := make([][]metrics.Triplet, len(d.Gallery.Tasks))
	for i, t := range d.Gallery.Tasks {
		var list []metrics.Triplet
		for _, l := range t.Triplets[labels.Val] {
			list = append(list, metrics.Triplet(l))
		}
		if list == nil {
			var err error
			if list, err = metrics.DrawTriplets(t.IDs, rows, n, seed); err != nil {
				continue // the validation split says nothing about this task
			}
		}
		for _, l := range list {
			a, okA := at[l.Anchor]
			b, okB := at[l.Near]
			c, okC := at[l.Far]
			if okA && okB && okC {
				out[i] = append(out[i], metrics.Triplet{Anchor: a, Near: b, Far: c})
			}
		}
	}
	return out
}
