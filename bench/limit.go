package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/sinks/store/storetest"
	"github.com/facet-search/facet/stages/imaging"
)

// limit is what one image costs in CPU-seconds where nothing but decoding and the model is done.
type limit struct{ decode, model float64 }

// rate is the number of images a second that the limit allows.
func (l limit) rate(cores int) float64 { return float64(cores) / (l.decode + l.model) }

// threadSeconds runs do on one locked thread and returns the CPU-seconds that it took there.
func threadSeconds(do func() error) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const thread = 1 // RUSAGE_THREAD
	var before, after syscall.Rusage
	if err := syscall.Getrusage(thread, &before); err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	err := syscall.Getrusage(thread, &after)
	return cpu(&after) - cpu(&before), err
}

func cpu(r *syscall.Rusage) float64 {
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

const (
	limitImages = 1024
	limitBatch  = 8
)

// measureLimit times decoding and the model alone, each on one thread.
func (b *bench) measureLimit() (limit, error) {
	file, err := os.ReadFile(b.model)
	if err != nil {
		return limit{}, err
	}
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		return limit{}, err
	}
	images, err := load(b.images, limitImages)
	if err != nil {
		return limit{}, err
	}
	d, err := imaging.NewDecoder(m.Preprocess, imaging.Limits{}, imaging.Options{})
	if err != nil {
		return limit{}, err
	}
	h, w := m.Preprocess.Output()
	pixels := make([]byte, 3*h*w)
	var l limit
	l.decode, err = threadSeconds(func() error {
		for _, data := range images {
			if _, err := d.Decode(data, pixels); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return limit{}, err
	}
	l.decode /= float64(len(images))
	l.model, err = modelSeconds(file, m)
	return l, err
}

// modelSeconds is the model's CPU-seconds an image, in full batches.
func modelSeconds(file []byte, m *modulation.Model) (float64, error) {
	e, err := network.Open("onnxruntime", file, m, m.Tasks)
	if err != nil {
		return 0, err
	}
	defer e.Close()
	r, err := e.NewRunner(limitBatch)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for i := range r.Input() {
		r.Input()[i] = float32(i%255)/127 - 1
	}
	if err := r.Run(limitBatch); err != nil { // the first run allocates
		return 0, err
	}
	seconds, err := threadSeconds(func() error {
		for range limitImages / limitBatch {
			if err := r.Run(limitBatch); err != nil {
				return err
			}
		}
		return nil
	})
	return seconds / limitImages, err
}

// run is one end-to-end run of the command as its own process.
type run struct {
	Seconds         float64            `json:"seconds"`
	ImagesPerSecond float64            `json:"images_per_second"`
	Phases          map[string]float64 `json:"phase_seconds"`
	Unchanged       bool               `json:"unchanged"`
	Ledger          struct {
		Listed, Embedded, Reused, Changed, Deleted int64
	} `json:"ledger"`

	cpu float64 // seconds, of the command and its children
	rss int64   // bytes, of the largest process
}

// index runs `facet index` on a gallery into a new output.
func (b *bench) index(ctx context.Context, gallery, output string, env []string, more ...string) (*run, error) {
	return b.job(ctx, env, append([]string{"--model", b.model, "--gallery", gallery, "--output", output}, more...)...)
}

// job runs `facet index` with the arguments.
func (b *bench) job(ctx context.Context, env []string, args ...string) (*run, error) {
	args = append([]string{"index", "--json"}, args...)
	c := exec.CommandContext(ctx, b.command, args...)
	var errs strings.Builder
	c.Stderr = &errs
	c.Env = append(os.Environ(), env...)
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("facet %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	r := &run{}
	if err := json.Unmarshal(out, r); err != nil {
		return nil, err
	}
	usage := c.ProcessState.SysUsage().(*syscall.Rusage)
	r.cpu, r.rss = cpu(usage), usage.Maxrss*1024
	return r, nil
}

// whole indexes the whole gallery from the file store, once for all parts that want it.
func (b *bench) whole(ctx context.Context) (*run, error) {
	if b.all != nil {
		return b.all, nil
	}
	r, err := b.index(ctx, b.images, filepath.Join(b.dir, "out-file"), nil)
	b.all = r
	return r, err
}

// flow is the rate of the phases up to the stored embeddings, the indexes left out.
func (r *run) flow() float64 {
	return float64(r.Ledger.Listed) / (r.Phases["list"] + r.Phases["embed"])
}

// endToEnd compares whole runs with the limit, which is measured before and after.
func (b *bench) endToEnd(ctx context.Context) error {
	fmt.Println("\nend to end, fashion gallery, against the limit of decoding + model on all cores")
	report := func(name string, run func() (*run, error)) error {
		before, err := b.measureLimit()
		if err != nil {
			return err
		}
		r, err := run()
		if err != nil {
			return err
		}
		after, err := b.measureLimit()
		if err != nil {
			return err
		}
		l := limit{(before.decode + after.decode) / 2, (before.model + after.model) / 2}
		b.print(name, r, l)
		return nil
	}
	err := report("file store", func() (*run, error) {
		return b.whole(ctx)
	})
	if err != nil {
		return err
	}
	return b.withServer(ctx, func(env []string) error {
		return report("versitygw", func() (*run, error) {
			return b.index(ctx, "s3://facet/images/", "s3://facet/index/", env)
		})
	})
}

func (b *bench) print(name string, r *run, l limit) {
	cores := runtime.NumCPU()
	limit := l.rate(cores)
	n := float64(r.Ledger.Listed)
	own := r.cpu/n - l.decode - l.model
	fmt.Printf("  %-10s limit %.0f images/s (decode %.0f µs + model %.0f µs CPU an image, %d cores)\n", name, limit, 1e6*l.decode, 1e6*l.model, cores)
	fmt.Printf("  %-10s listing to stored embeddings: %.0f images/s, ratio to the limit %.2f\n", "", r.flow(), r.flow()/limit)
	fmt.Printf("  %-10s whole command, indexes and publishing included: %.0f images/s, ratio to the limit %.2f\n", "", r.ImagesPerSecond, r.ImagesPerSecond/limit)
	fmt.Printf("  %-10s CPU an image beside decode and model: %.0f µs, %.1f %% of all\n", "", 1e6*own, 100*own*n/r.cpu)
}

// withServer uploads the gallery to an S3 server of its own.
func (b *bench) withServer(ctx context.Context, do func(env []string) error) error {
	s, err := storetest.StartVersityGW(filepath.Join(b.dir, "s3"))
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("  uploading the gallery to versitygw …")
	if err := upload(ctx, s.Bucket, s.Env(), b.images); err != nil {
		return err
	}
	return do(s.Env())
}
