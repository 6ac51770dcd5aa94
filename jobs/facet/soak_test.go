//go:build soak

package main

import "testing"

// At least sixty kills over first and second nights of a larger gallery.
func TestKilledSoak(t *testing.T) {
	newKilling(t, 400, 11).nights(60, 12)
}
