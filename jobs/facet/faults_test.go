package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/facet-search/facet/internal/hostile"
	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// bucket is a gallery in S3 and what indexing it takes.
type bucket struct {
	server *storetest.Server
	images store.Store // without faults
	model  string
	dim    int
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{server: storetest.VersityGW(t)}
	b.model, b.dim = testenv.PixelModel(t, hostile.Preprocess())
	var err error
	if b.images, err = store.Open(t.Context(), b.address("images")); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bucket) address(folder string) string { return "s3://" + b.server.Bucket + "/" + folder + "/" }

// fill writes objects, some at a time.
func (b *bucket) fill(t *testing.T, objects map[string]string) {
	t.Helper()
	work := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for key := range work {
				data := objects[key]
				if _, err := b.images.Put(t.Context(), key, strings.NewReader(data), int64(len(data)), store.Condition{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for key := range objects {
		work <- key
	}
	close(work)
	wg.Wait()
}

// index runs the command on the bucket's images, with more lines of its job file.
func (b *bucket) index(t *testing.T, folder, lines string, flags ...string) (code int, stderr string) {
	t.Helper()
	job := write(t, filepath.Join(t.TempDir(), "job.yaml"), "index: {default: Flat}\n"+lines)
	args := []string{"index", "-c", job, "--gallery", b.address("images"), "--model", b.model, "--output", b.address(folder)}
	code, _, stderr = facet(t, append(args, flags...)...)
	return code, stderr
}

func (b *bucket) current(t *testing.T, folder string) (*sinks.Snapshot, error) {
	t.Helper()
	s, err := store.Open(t.Context(), b.address(folder))
	if err != nil {
		t.Fatal(err)
	}
	return sinks.OpenCurrent(t.Context(), s)
}

// contents are the digests of a snapshot's files, by what they hold: files of equal content are files of
// equal bytes. What measures the run itself is left out.
func (b *bucket) contents(t *testing.T, folder string) string {
	t.Helper()
	s, err := b.current(t, folder)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, k := range []sinks.Kind{sinks.Items, sinks.Embedding, sinks.QuarantineTable, sinks.Index, sinks.Model} {
		for _, f := range s.Select(k, "") {
			fmt.Fprintln(&all, f.Kind, f.Task, f.Shard, f.Rows, f.SHA256)
		}
	}
	return all.String()
}

// fashion are n images of the gallery, and three that are none.
func fashion(t *testing.T, n int) map[string]string {
	t.Helper()
	objects := map[string]string{"empty.jpg": "", "page.jpg": "<html>", "cut.jpg": "\xff\xd8\xff\xe0"}
	testenv.FashionEach(t, n, func(name string, data []byte) { objects[name] = string(data) })
	return objects
}

// small makes several shards of some hundred images.
const small = "shard_size: 40\nlimits: {reject: 1}\n"

// tries is how often a run that stopped is started again.
const tries = 6

// With every fault a network and a store are known for, at 1 to 20 % of all requests, a run publishes byte for
// byte what it does without any, or stops, publishes nothing, and does so when it is started again.
func TestEndToEndFaults(t *testing.T) {
	b := newBucket(t)
	b.fill(t, fashion(t, 120))
	if code, errs := b.index(t, "clean", small); code != exitOK {
		t.Fatalf("without faults: exit code %d\n%s", code, errs)
	}
	want := b.contents(t, "clean")
	for _, share := range []float64{0.2, 0.01, 0.05, 0.1, 0.15}[:faultShares] {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			proxy := storetest.NewFaulty(t, b.server, share, storetest.AllFaults...)
			folder := fmt.Sprintf("faulty-%v", share)
			stops := b.untilPublished(t, folder)
			t.Logf("%d faults, %d stops", proxy.Faults(), stops)
			if proxy.Faults() == 0 {
				t.Error("nothing went wrong")
			}
			t.Setenv("AWS_ENDPOINT_URL", b.server.Endpoint)
			if got := b.contents(t, folder); got != want {
				t.Errorf("published\n%swant\n%s", got, want)
			}
			if code, out, errs := facet(t, "verify", "--output", b.address(folder)); code != exitOK {
				t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// untilPublished starts the job until it ends well, and returns how often it did not.
func (b *bucket) untilPublished(t *testing.T, folder string) (stops int) {
	t.Helper()
	for ; stops < tries; stops++ {
		code, errs := b.index(t, folder, small)
		if code == exitOK {
			return stops
		}
		t.Logf("exit code %d: %s", code, errs)
		if code != exitError {
			t.Fatalf("exit code %d, want %d", code, exitError)
		}
	}
	t.Fatalf("stopped %d times", stops)
	return stops
}

// A listing from before a change names what is gone and not what is new. A night that reuses sees no change in
// it; one that reads all accounts for what is gone. What is new comes with the next listing, and nothing is
// there twice.
func TestStaleListing(t *testing.T) {
	const n = 120
	b := newBucket(t)
	picture := fashion(t, 1)
	image := ""
	for name, data := range picture {
		if len(data) > 100 {
			image = data
			delete(picture, name)
		}
	}
	objects := map[string]string{}
	for i := range n {
		objects[fmt.Sprintf("%05d.jpg", 2*i)] = image
	}
	b.fill(t, objects)
	proxy := storetest.NewFaulty(t, b.server, 1, storetest.Stale)
	proxy.Only(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Query().Get("prefix"), "images/") })
	b.night(t, n, 0)
	added := map[string]string{}
	for i := range n / 10 {
		key := fmt.Sprintf("%05d.jpg", 20*i)
		if err := b.images.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		added[fmt.Sprintf("%05d.jpg", 20*i+1)] = image
	}
	b.fill(t, added)
	b.night(t, n, 0)
	b.night(t, n-n/10, n/10, "--full")
	t.Setenv("AWS_ENDPOINT_URL", b.server.Endpoint)
	b.night(t, n, 0)
}

// night runs a job that must account for so many images.
func (b *bucket) night(t *testing.T, embedded, gone int, flags ...string) {
	t.Helper()
	if code, errs := b.index(t, "stale", "limits: {reject: 1}", flags...); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	o := outcomes(t, b.address("stale"), b.dim)
	for key, reason := range o.reasons {
		if reason != pipeline.Gone {
			t.Errorf("%s: %s", key, reason)
		}
	}
	if len(o.pixels) != embedded || len(o.reasons) != gone {
		t.Errorf("%d embedded and %d gone, want %d and %d", len(o.pixels), len(o.reasons), embedded, gone)
	}
}

// An image that the server begins to send and never ends is timed out, and stops no other. When the
// server treats all so, that is the server's fault: the job stops and no image is blamed.
func TestSilentServer(t *testing.T) {
	b := newBucket(t)
	objects := fashion(t, 30)
	b.fill(t, objects)
	var one atomic.Bool
	one.Store(true)
	proxy := storetest.NewFaulty(t, b.server, 1, storetest.Silent)
	proxy.Only(func(r *http.Request) bool {
		return r.Method == http.MethodGet && (!one.Load() && strings.HasSuffix(r.URL.Path, ".jpg") || strings.HasSuffix(r.URL.Path, "cut.jpg"))
	})
	if code, errs := b.index(t, "one", "limits: {reject: 1, seconds: 0.5}"); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	o := outcomes(t, b.address("one"), b.dim)
	if len(o.pixels) != 30 || len(o.reasons) != 3 || o.reasons["cut.jpg"] != pipeline.TimedOut {
		t.Errorf("%d embedded, and %v", len(o.pixels), o.reasons)
	}
	one.Store(false)
	code, errs := b.index(t, "all", "limits: {reject: 1, seconds: 0.5}")
	if code != exitError || !strings.Contains(errs, "silent") {
		t.Errorf("exit code %d, want %d and the silence named:\n%s", code, exitError, errs)
	}
	if _, err := b.current(t, "all"); err == nil {
		t.Error("published all the same")
	}
}
