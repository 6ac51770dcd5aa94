package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// trainJob writes a gallery of grey images, their labels and a job file, and returns the file's name.
func trainJob(t *testing.T, steps int) string {
	t.Helper()
	dir := t.TempDir()
	table := "key,shade,size\n"
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 40 {
		name := fmt.Sprintf("%02d.png", i)
		im := image.NewGray(image.Rect(0, 0, 16, 16))
		for p := range im.Pix {
			im.Pix[p] = uint8(i%4*50 + rng.IntN(50))
		}
		im.SetGray(0, 0, color.Gray{255})
		var b bytes.Buffer
		if err := png.Encode(&b, im); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), b.String())
		table += fmt.Sprintf("%s,%d,%d\n", name, i%4, i%3)
	}
	labels := write(t, filepath.Join(dir, "labels.csv"), table)
	return write(t, filepath.Join(dir, "train.yaml"), fmt.Sprintf(`gallery: %s
output: %s/whole
labels: {path: %s, tasks: [shade, size]}
network: {dim: 8, widths: [8, 8, 8, 8, 8]}
preprocess: {size: [16, 16]}
recipe: {steps: %d, batch: {rows: 8}, compliance: 10}
validate: {every: 20, triplets: 50}
checkpoint: 5
threads: 1
`, dir, dir, labels, steps))
}

// TestTrainKilled kills a run with SIGKILL, again and again and wherever it is, and goes on each time: the
// model is the same, byte for byte, as that of a run in one piece.
func TestTrainKilled(t *testing.T) {
	job := trainJob(t, 120)
	folder := filepath.Dir(job)
	if code, _, errs := facet(t, "train", "-c", job); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	want, err := os.ReadFile(filepath.Join(folder, "whole", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(folder, "killed")
	killed := 0
	for range 3 {
		before := stamp(output)
		c := command(t, "train", "-c", job, "--output", output, "--resume")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for range 3000 { // until it has got further
			if stamp(output) != before {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			killed++
		}
	}
	if killed == 0 {
		t.Error("no run lasted long enough to be killed")
	}
	code, out, errs := facet(t, "train", "-c", job, "--output", output, "--resume")
	if code != exitOK || !strings.Contains(out, "120 steps") {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	if got, err := os.ReadFile(filepath.Join(output, "model.onnx")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after %d kills the model is another (%v)", killed, err)
	}
}

// stamp is when the folder's checkpoint was last replaced.
func stamp(folder string) time.Time {
	st, err := os.Stat(filepath.Join(folder, "checkpoint.state"))
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

func TestTrainUsage(t *testing.T) {
	job := trainJob(t, 1)
	for name, args := range map[string][]string{
		"no job":         {"train"},
		"unknown method": {"train", "-c", job, "--method", "magic"},
		"no such file":   {"train", "-c", job, "--start", "nowhere.onnx"},
	} {
		if code, _, errs := facet(t, args...); code != exitUsage {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
	}
}
