package store

import "time"

// Hasten sets how long the store waits for the lock.
func (s *File) Hasten(patience time.Duration) { s.patience = patience }
