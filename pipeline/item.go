package pipeline

import "fmt"

// ShardShift is the number of low bits of an image id that hold its sequence within a shard.
const ShardShift = 40

// Ref names one image object of a gallery as its listing gave it.
type Ref struct {
	Key  string // relative to the gallery's root; opaque bytes, never a path to be cleaned
	ETag string // the store's version of the content; "" when the listing does not know it
	Size int64  // bytes; -1 when the listing does not know it
	// Attributes are the manifest's further columns, in the order the gallery declares; nil for a
	// prefix listing.
	Attributes []string
}

// Item is one image on its way through the stages. Exactly one stage owns it at a time and may
// change it; after handing it on, a stage keeps no reference.
type Item struct {
	ID int64 // shard << ShardShift | sequence: allotted once to a key, never reused
	Ref
	// Last marks the last item of its shard. The mark travels with the item because the end of a
	// channel cannot say that a shard is complete.
	Last bool

	Data   []byte // the encoded image; set by fetch, nil again after decode
	Pixels []byte // H×W×3 bytes, interleaved, in the model's channel order; set by decode, nil again after embed

	ContentHash [32]byte // SHA-256 of the encoded bytes; set by fetch
	Width       int      // pixels of the image as stored, before orientation and resizing; set by decode
	Height      int

	Reject *Reject // not nil: the item goes to quarantine, and later stages leave it alone

	Known *Known // what the parent snapshot holds of the key; nil when it has none
	Need  Need   // what the model still has to compute; settled by recognise
	// Twin is the parent's row whose vectors are used for the tasks that Need leaves out: the item's own,
	// or another key's of the same content.
	Twin int64
}

// Known is what a snapshot holds of an image.
type Known struct {
	ID            int64
	ETag          string
	Size          int64
	ContentHash   [32]byte
	Width, Height int
	Attributes    []string // "" for null
	Reject        *Reject  // not nil: it is in the quarantine, and there is no content hash
}

// Need says for which of the tasks an item's vectors have to be computed.
type Need uint8

const (
	NeedAll     Need = iota // content that has no vectors yet
	NeedSome                // those tasks that the parent has no vectors of, whatever the image
	NeedNothing             // every vector is of an earlier night
)

// Settle takes over what is known of the item's content, of which k is a row.
func (it *Item) Settle(k *Known) {
	it.ContentHash, it.Width, it.Height, it.Twin = k.ContentHash, k.Width, k.Height, k.ID
}

// Shard is the shard that the item's id places it in.
func (it *Item) Shard() int { return int(it.ID >> ShardShift) }

// Reason is the closed set of causes for which an image is quarantined. The strings are written to
// quarantine.parquet and are part of the format.
type Reason string

const (
	Unreadable  Reason = "unreadable"  // the bytes are of a known format but cannot be decoded
	Truncated   Reason = "truncated"   // the data end before the image does
	TooLarge    Reason = "too large"   // over the limits on bytes, pixels or scans
	Unsupported Reason = "unsupported" // no known image format, or a variant of one that is not decoded
	Empty       Reason = "empty"       // zero bytes, or zero pixels
	Denied      Reason = "denied"      // the store refuses to hand it out
	Gone        Reason = "gone"        // listed, but no longer there
	TimedOut    Reason = "timed out"   // over the time limit for one image
)

// Reject says why an item is not embedded. It is a value and not an error: a bad image never stops a
// job on its own.
type Reject struct {
	Reason Reason
	Err    error
}

func (r *Reject) Error() string { return fmt.Sprintf("%s: %v", r.Reason, r.Err) }

func (r *Reject) Unwrap() error { return r.Err }

// Reasons are all of them.
var Reasons = []Reason{Unreadable, Truncated, TooLarge, Unsupported, Empty, Denied, Gone, TimedOut}

// Embeddings is a batch of items with the vectors that were computed for them.
type Embeddings struct {
	Items []*Item // rejected and reused ones included, in the flow's order
	// Vectors holds, for each task, the vectors of those items that have no Reject and need the task, in
	// order: row i of task t is Vectors[t][i*D : (i+1)*D] with D the task's dimension.
	Vectors [][]float32
}
