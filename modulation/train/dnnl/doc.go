// Package dnnl is the thin layer over oneDNN 2.6 (libdnnl-dev) that training stands on.
//
// A Desc is the shape and layout of a float32 tensor, a Buffer is memory for one, a Memory a Desc
// laid over a Buffer. A Kernel is one compiled primitive: it says which layouts it wants, and is
// bound to memories in a Program, a list of kernels that runs in one call into C. An Engine makes
// and owns all of them.
//
// Scratch space is the Engine's and not the library's: oneDNN keeps its own per thread and wants a
// primitive to run on the thread that made it, which goroutines cannot promise.
//
// Nothing here is safe for concurrent use; one Engine belongs to one goroutine at a time.
package dnnl

// #cgo LDFLAGS: -ldnnl -lgomp
// #cgo CFLAGS: -O2 -fopenmp
import "C"
