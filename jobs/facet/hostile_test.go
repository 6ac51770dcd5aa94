package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/facet-search/facet/internal/hostile"
	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// outcome is what became of every key of a snapshot of PixelModel.
type outcome struct {
	reasons map[string]pipeline.Reason
	pixels  map[string][]byte // RGB, interleaved
}

// outcomes reads a snapshot. A key that is there twice fails the test.
func outcomes(t *testing.T, output string, dim int) outcome {
	t.Helper()
	s, err := store.Open(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := sinks.OpenCurrent(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	o := outcome{map[string]pipeline.Reason{}, map[string][]byte{}}
	each := func(k sinks.Kind, read func(data []byte) error) {
		for _, f := range snapshot.Select(k, "") {
			data, err := snapshot.ReadFile(t.Context(), f)
			if err == nil {
				err = read(data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	keys := map[int64]string{}
	seen := func(id int64, key string) {
		if o.reasons[key] != "" || keys[id] != "" {
			t.Errorf("%q (%d) is there twice", key, id)
		}
		keys[id] = key
	}
	each(sinks.Items, func(data []byte) error {
		return sinks.ReadItems(t.Context(), data, func(r sinks.Row) error {
			seen(r.ID, r.Key)
			return nil
		})
	})
	each(sinks.Embedding, func(data []byte) error {
		return sinks.ReadVectors(t.Context(), data, dim, func(v sinks.Vectors) error {
			for i, id := range v.IDs {
				o.pixels[keys[id]] = interleaved(v.Data[i*dim : (i+1)*dim])
			}
			return nil
		})
	})
	each(sinks.QuarantineTable, func(data []byte) error {
		return sinks.ReadQuarantine(t.Context(), data, func(q sinks.Quarantined) error {
			seen(q.ID, q.Key)
			o.reasons[q.Key] = q.Reason
			return nil
		})
	})
	return o
}

// interleaved turns planes of whole numbers into RGB bytes.
func interleaved(planes []float32) []byte {
	n := len(planes) / 3
	b := make([]byte, len(planes))
	for i, v := range planes {
		b[i%n*3+i/n] = byte(v)
	}
	return b
}

// maxMemory is what the process may take at its peak, whatever the images say they are. The race
// detector's own is in it.
const maxMemory = 1500 << 20

// A gallery in which every third image is broken or hostile is indexed by a process of bounded memory:
// each bad one is in quarantine for the right reason, or was decoded exactly as Pillow does.
func TestEndToEndHostile(t *testing.T) {
	root := testenv.Root(t)
	cases, err := hostile.Corpus(filepath.Join(root, "stages/imaging/testdata"), hostile.Flips)
	if err != nil {
		t.Fatal(err)
	}
	pillow, err := hostile.ReadPillow(filepath.Join(root, "stages/imaging/testdata/hostile.json"))
	if err != nil {
		t.Fatal(err)
	}
	gallery, dir := testenv.Fashion(t, goodImages), t.TempDir()
	for _, c := range cases {
		write(t, filepath.Join(gallery, c.Name), string(c.Data))
	}
	model, dim := testenv.PixelModel(t, hostile.Preprocess())
	job := write(t, filepath.Join(dir, "job.yaml"), "gallery: "+gallery+"\nmodel: "+model+"\noutput: "+dir+"/out\n"+
		"shard_size: 500\nlimits: {reject: 1}\nindex: {default: Flat}\nrecall: {queries: 10}\n")
	c := command(t, "index", "-c", job, "--json")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var r struct{ Ledger sinks.Ledger }
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Ledger.Listed != int64(goodImages+len(cases)) {
		t.Errorf("%v: %+v", err, r.Ledger)
	}
	peak := c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%d good and %d hostile images, peak memory %d MiB, %v of processor time, %v", goodImages, len(cases), peak>>20,
		c.ProcessState.UserTime(), r.Ledger.Reasons)
	if peak > maxMemory {
		t.Errorf("%d bytes of memory at the peak, want at most %d", peak, maxMemory)
	}
	o := outcomes(t, dir+"/out", dim)
	for _, k := range cases {
		if _, decoded := o.pixels[k.Name]; decoded == (o.reasons[k.Name] != "") {
			t.Errorf("%s: decoded %v, rejected for %q", k, decoded, o.reasons[k.Name])
		}
		if err := pillow.Check(k, o.reasons[k.Name], o.pixels[k.Name]); err != nil {
			t.Error(err)
		}
	}
	if n := len(o.pixels) + len(o.reasons); n != goodImages+len(cases) {
		t.Errorf("%d keys are accounted for, want %d", n, goodImages+len(cases))
	}
	if code, out, _ := facet(t, "verify", "--output", dir+"/out"); code != exitOK {
		t.Errorf("verify: exit code %d\n%s", code, out)
	}
}

// Seconds that are over stop an image and no other.
func TestTimeLimitOfAnImage(t *testing.T) {
	gallery, dir := testenv.Fashion(t, 20), t.TempDir()
	cases, err := hostile.Corpus(filepath.Join(testenv.Root(t), "stages/imaging/testdata"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name == "png-large-flat.png" {
			write(t, filepath.Join(gallery, "slow.png"), string(c.Data))
		}
	}
	model, dim := testenv.PixelModel(t, hostile.Preprocess())
	code, _, errs := facet(t, "index", "--gallery", gallery, "--model", model, "--output", dir, "--reject", "1", "-c",
		write(t, filepath.Join(dir, "job.yaml"), "limits: {seconds: 0.01}\n"))
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	o := outcomes(t, dir, dim)
	if len(o.pixels) != 20 || o.reasons["slow.png"] != pipeline.TimedOut || strings.Contains(errs, "panic") {
		t.Errorf("%d decoded, and %v", len(o.pixels), o.reasons)
	}
	if _, err := os.Stat(filepath.Join(dir, sinks.CurrentPath)); err != nil {
		t.Error(err)
	}
}
