// Command write puts the hostile images into a folder, for other programs to judge.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/facet-search/facet/internal/hostile"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "write:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: write FIXTURES FLIPS FOLDER")
	}
	flips, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	cases, err := hostile.Corpus(args[0], flips)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(args[2], 0o750); err != nil {
		return err
	}
	for _, c := range cases {
		if err := os.WriteFile(filepath.Join(args[2], c.Name), c.Data, 0o600); err != nil {
			return err
		}
	}
	fmt.Println(len(cases), "images")
	return nil
}
