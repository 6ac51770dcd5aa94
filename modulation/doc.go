// Package modulation is the side of Facet that knows networks: what a model file says of its tasks and
// its preprocessing (Model), which embeddings two models have in common (Digests), and what a pass
// through it costs (Inspection). It follows "A Modulation Module for Multi-task Learning with
// Applications in Image Retrieval" (Zhao et al., ECCV 2018).
//
// It does no I/O and starts no goroutine: files come in and go out as bytes.
package modulation
