// Command bench prints what `make bench` measures. Every figure is a ratio to a limit or to a peer
// that was measured in the same run on the same machine, since these figures alone survive a change
// of machine. Nothing here fails on a slow machine: it prints, people judge.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/stages/engine/ort"
)

func main() {
	faiss.MaybeChild()
	profile := flag.String("profile", "", "only profile an end-to-end run into this folder")
	only := flag.String("only", "", "run one part: limit, memory, decode, nights, overhead, peer, train, tasks")
	keys := flag.Int("synthetic", 0, "only make a snapshot of so many keys in the folder given, for overhead")
	flag.Parse()
	log.SetFlags(0)
	ctx := context.Background()
	var err error
	switch {
	case *keys > 0:
		err = (synthetic{dir: flag.Arg(0), n: *keys}).publish(ctx)
	case *only == "train": // needs neither gallery nor command
		err = new(bench).trainStep(ctx)
	default:
		err = measure(ctx, *only, *profile)
	}
	if err != nil {
		log.Fatal("bench: ", err)
	}
}

// part is a group of figures.
type part struct {
	name string
	run  func(context.Context) error
}

// measure measures one part, or all, or makes a profile.
func measure(ctx context.Context, only, profile string) error {
	b, err := newBench()
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	parts := []part{
		{"decode", b.decode}, {"limit", b.endToEnd}, {"memory", b.memory}, {"nights", b.nights}, {"overhead", b.overhead},
		{"peer", b.peer}, {"train", b.trainStep}, {"tasks", b.tasks},
	}
	if profile != "" {
		only, parts = "", []part{{"profile", func(ctx context.Context) error { return b.profile(ctx, profile) }}}
	}
	for _, p := range parts {
		if only != "" && only != p.name {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// bench is the gallery and the model that everything is measured with.
type bench struct {
	dir     string // scratch
	images  string // folder with the fashion gallery
	model   string
	command string // bin/facet
	all     *run   // of the whole gallery from the file store, once it has been made
}

func newBench() (*bench, error) {
	shared := filepath.Join("..", "shared")
	b := &bench{model: filepath.Join(shared, "models/fashion/model.onnx"), command: filepath.Join("bin", "facet")}
	for _, p := range []string{b.model, b.command} {
		if _, err := os.Stat(p); err != nil {
			return nil, fmt.Errorf("%w; run `make bench` at the module's root, beside the shared gallery", err)
		}
	}
	// This program lies in a temporary folder when it is run, far from the library.
	if os.Getenv(ort.LibraryEnv) == "" {
		if err := os.Setenv(ort.LibraryEnv, filepath.Join(".deps", "onnxruntime", "lib", "libonnxruntime.so.1")); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "facet-bench-")
	if err != nil {
		return nil, err
	}
	b.dir, b.images = dir, filepath.Join(dir, "gallery")
	fmt.Println("unpacking the fashion gallery …")
	return b, unpack(filepath.Join(shared, "gallery/fashion/images.tar"), b.images)
}
