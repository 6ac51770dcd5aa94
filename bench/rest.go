package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// memory compares the peak memory of a quarter of the gallery with that of all of it.
func (b *bench) memory(ctx context.Context) error {
	const few = 9000
	small := filepath.Join(b.dir, "few")
	if err := subset(b.images, small, few); err != nil {
		return err
	}
	a, err := b.index(ctx, small, filepath.Join(b.dir, "out-few"), nil)
	if err != nil {
		return err
	}
	z, err := b.whole(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\npeak memory of the largest process: %d images %.0f MiB, %d images %.0f MiB, ratio %.2f\n",
		a.Ledger.Listed, mib(a.rss), z.Ledger.Listed, mib(z.rss), float64(z.rss)/float64(a.rss))
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// peer runs the plain Python program on the same gallery and model.
func (b *bench) peer(ctx context.Context) error {
	python := filepath.Join(".deps", "python", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		fmt.Println("\nthe Python peer is not set up; `make python` does it where PyPI can be reached")
		return nil
	}
	ours, err := b.whole(ctx)
	if err != nil {
		return err
	}
	out := filepath.Join(b.dir, "peer")
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, python, "bench/python/peer.py", "--images", b.images, "--model", b.model, "--out", out,
		"--cores", strconv.Itoa(runtime.NumCPU()))
	c.Stderr = os.Stderr
	text, err := c.Output()
	if err != nil {
		return fmt.Errorf("the Python peer: %w", err)
	}
	theirs, err := lastRun(text)
	if err != nil {
		return err
	}
	fmt.Printf("\nbeside plain Python (Pillow, onnxruntime, pyarrow, faiss): %.1f s against %.1f s, ratio %.2f\n", theirs, ours.Seconds, theirs/ours.Seconds)
	return nil
}

// profile runs the job under the CPU profiler and prints where the time goes.
func (b *bench) profile(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	file := filepath.Join(dir, "cpu.pprof")
	if _, err := b.index(ctx, b.images, filepath.Join(b.dir, "out-profile"), nil, "--cpuprofile", file); err != nil {
		return err
	}
	top := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=40", b.command, file)
	top.Stdout, top.Stderr = os.Stdout, os.Stderr
	if err := top.Run(); err != nil {
		return err
	}
	fmt.Println(strings.TrimSpace("profile: " + file))
	return nil
}
