package stages

import "sync"

// Buffers is a free list of byte slices. Fresh large buffers cost page faults, which are dear, so
// the stages hand theirs back.
type Buffers struct{ pool sync.Pool }

// Get returns a slice of length n with arbitrary content.
func (b *Buffers) Get(n int) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= n {
		return (*p)[:n]
	}
	return make([]byte, n)
}

// Put takes a slice back; the caller must not use it again.
func (b *Buffers) Put(p []byte) {
	if cap(p) > 0 {
		b.pool.Put(&p)
	}
}
