// Package pipeline owns the nouns of Facet and the Flow that moves them.
//
// A Ref names an image object of a gallery. An Item is a Ref with an id and whatever the stages have
// found out about it so far; a Reject is why an item went no further. Embeddings are what a modulated
// network says about a batch of items, one matrix a Task. A Source yields values, a Stage turns one
// value into another, a Sink takes them in order, and a Flow joins them and owns every goroutine.
//
// The package imports nothing else of Facet; every other package speaks in its terms.
package pipeline
