// Package faiss builds, searches and merges FAISS indexes.
//
// FAISS aborts on exceptions inside its parallel regions, and a corrupt file can make it read
// through wild pointers. So it runs in a child process, which is this same binary started again:
// every program and test that uses a Builder, a Searcher or Check calls MaybeChild first thing in
// main or TestMain. A crash of the child is an error here, which names the operation, the task and
// the signal.
//
// A Builder makes one index: Sample and Train, HoldOut, Add, Finish, Write. It measures recall@10
// against exact search, with queries that took no part in training and were not in the index when
// it was measured. A Searcher reads an index file and answers from it. Merge joins IVF files without
// FAISS. Choose picks an index type for a gallery's size and Resolve takes a user's own factory
// string.
//
// The same vectors in the same order, the same factory string, one thread and the same kind of
// processor give the same bytes of file, however the vectors were batched: the child adds them to
// FAISS in blocks of its own. More threads change the bytes wherever an HNSW graph is involved.
package faiss
