package storetest

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/facet-search/facet/sinks/store"
)

// stuck is a body that stops in the middle until it is let go.
type stuck struct {
	*bytes.Reader
	half    int64
	reached chan struct{}
	release chan struct{}
	once    bool
}

func (s *stuck) Read(p []byte) (int, error) {
	if at, _ := s.Seek(0, io.SeekCurrent); at >= s.half && !s.once {
		s.once = true
		close(s.reached)
		<-s.release
	}
	return s.Reader.Read(p[:min(len(p), 1<<20)])
}

// testUnfinished looks for a write while it is under way, which is what one looks like whose writer died.
func testUnfinished(t *testing.T, s store.Store) {
	c, ok := s.(store.Cleaner)
	if !ok {
		return // a writer that dies leaves nothing
	}
	if u := unfinished(t, c); len(u) > 0 {
		t.Fatalf("nothing was begun, and there is %+v", u)
	}
	const size = 20 << 20
	body := &stuck{Reader: bytes.NewReader(make([]byte, size)), half: 17 << 20, reached: make(chan struct{}), release: make(chan struct{})}
	failed := make(chan error)
	go func() {
		_, err := s.Put(t.Context(), "folder/large", body, size, store.Condition{})
		failed <- err
	}()
	<-body.reached
	// Parts are sent while others are read.
	var begun []store.Unfinished
	for deadline := time.Now().Add(time.Minute); len(begun) == 0 && time.Now().Before(deadline); {
		begun = unfinished(t, c)
	}
	holds(t, s)
	if len(begun) != 1 || begun[0].Key != "" && begun[0].Key != "folder/large" || time.Since(begun[0].Since).Abs() > time.Hour {
		t.Errorf("begun is one write, found are %+v", begun)
	}
	for _, u := range append(begun, begun...) { // twice: it is gone the second time
		if err := c.Discard(t.Context(), u); err != nil {
			t.Error(err)
		}
	}
	close(body.release)
	if err := <-failed; err == nil {
		t.Error("a write that was discarded came to its end")
	}
	holds(t, s)
	if u := unfinished(t, c); len(u) > 0 {
		t.Errorf("discarded, and there is %+v", u)
	}
	put(t, s, "folder/large", "as if nothing had been")
}

func unfinished(t *testing.T, c store.Cleaner) (all []store.Unfinished) {
	t.Helper()
	for u, err := range c.Unfinished(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}
