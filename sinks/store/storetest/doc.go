// Package storetest holds what every object store must do, as a suite of tests, and starts the real S3
// server that the suite runs against. Tests and benchmarks of other packages use the server, too.
package storetest
