// Package sinks writes what Facet publishes and reads it back: shards of items and embeddings in
// Parquet (and Arrow IPC), one FAISS index a task, the manifest that names them all, and the pointer
// that makes a snapshot the current one.
//
// Every object but the pointer is immutable and named by its content. Objects come first, the
// manifest after them, and the pointer last, in one conditional write: before that write nothing of
// a snapshot is visible, and after it all of it is.
package sinks
