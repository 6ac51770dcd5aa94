package storetest_test

import (
	"sync"
	"testing"

	"github.com/facet-search/facet/sinks/store/storetest"
)

// Several servers at once neither share a port nor are taken for one another.
func TestServersSideBySide(t *testing.T) {
	var wg sync.WaitGroup
	for range 6 {
		dir := t.TempDir()
		wg.Go(func() {
			s, err := storetest.StartVersityGW(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.CreateBucket(t.Context(), "another"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
