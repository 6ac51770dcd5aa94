//go:build e2e || soak

package main

const (
	goodImages  = 2000
	faultShares = 5
)
