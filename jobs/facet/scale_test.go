//go:build !e2e && !soak

package main

// How much the end-to-end tests do: little here, all of it in make e2e and make soak.
const (
	goodImages  = 200 // beside the hostile ones
	faultShares = 2   // of the shares of failing requests
)
