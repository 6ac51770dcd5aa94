package store_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

func open(t *testing.T, address string) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFile(t *testing.T) {
	storetest.Conformance(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "new/folder")) })
	goleak.VerifyNone(t)
}

func TestMem(t *testing.T) {
	storetest.Conformance(t, func(t *testing.T) store.Store { return open(t, "mem://"+t.Name()) })
}

func TestS3(t *testing.T) {
	server := storetest.VersityGW(t)
	n := 0
	storetest.Conformance(t, func(t *testing.T) store.Store {
		n++
		return open(t, fmt.Sprintf("s3://%s/conformance/%d", server.Bucket, n))
	})
}
