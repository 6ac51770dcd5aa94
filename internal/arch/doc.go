// Package arch checks, as a test, what the compiler does not: which package may import which, who may
// start goroutines, and how long functions and files get.
package arch
