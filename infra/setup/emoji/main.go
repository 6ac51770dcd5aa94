// Command emoji makes the demo's gallery out of the npm packages emoji-datasource-<vendor>: one folder
// of 64×64 PNGs a vendor, and a table of labels.
//
//	emoji -out out/demo google=emoji-datasource-google-16.0.0.tgz twitter=…
//
// leaves out/demo/gallery/<vendor>/<code>.png and out/demo/labels.csv. The five swatches of bare skin
// tones (category "Component") are no emoji and are left out.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	out := flag.String("out", "out/demo", "folder to make gallery/ and labels.csv in")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "emoji:", err)
		os.Exit(1)
	}
}

// run builds beside its destination and renames at the end: a gallery that is there is whole.
func run(out string, args []string) error {
	if len(args) == 0 {
		return errors.New("name at least one vendor=tarball")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(out, ".emoji-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	gallery, labels := filepath.Join(scratch, "gallery"), filepath.Join(scratch, "labels.csv")
	var rows []label
	for _, arg := range args {
		vendor, tarball, ok := strings.Cut(arg, "=")
		if !ok || vendor == "" || strings.ContainsAny(vendor, `/\.`) {
			return fmt.Errorf("%q is not vendor=tarball", arg)
		}
		got, err := unpack(tarball, vendor, filepath.Join(gallery, vendor))
		if err != nil {
			return fmt.Errorf("unpack %s: %w", tarball, err)
		}
		rows = append(rows, got...)
	}
	if err := writeLabels(labels, rows); err != nil {
		return fmt.Errorf("write labels: %w", err)
	}
	if err := replace(labels, filepath.Join(out, "labels.csv")); err != nil {
		return err
	}
	if err := replace(gallery, filepath.Join(out, "gallery")); err != nil {
		return err
	}
	fmt.Printf("%d images of %d vendors in %s\n", len(rows), len(args), filepath.Join(out, "gallery"))
	return nil
}

func replace(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}
