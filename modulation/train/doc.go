// Package train trains networks whose embeddings answer one similarity question a task.
//
// A Recipe says how, a Dataset holds the images and their labels, a Trainer takes one Step after
// another: a Sampler draws a batch with the same number of images for every task, the plan of package
// autodiff computes embeddings and gradients, a Loss says how good the embeddings are, an Optimizer
// moves the parameters, and an average of the parameters follows them. Compliance counts on the way
// how often tasks agree about the layers that they share.
//
// Everything that a run depends on is in its State, which Encode turns into bytes: a run that goes on
// from them ends with the same weights, bit for bit, as one that never stopped, as long as the number
// of threads and the processor's vector instructions are the same.
//
// The package does no I/O and starts no goroutines.
package train
