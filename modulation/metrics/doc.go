// Package metrics says how good embeddings are, given classes: the accuracy of triplets, and retrieval
// (recall at k, mean average precision). It computes and nothing else: no I/O, no goroutines.
//
// Embeddings of one task are a Space, one row an image; classes are one id an image, negative where an
// image has no label. Rows without a label are neither query, neighbour nor part of a triplet; they are
// counted.
package metrics
