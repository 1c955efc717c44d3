// Reference writes the pages of docs/reference from the code: flags, configuration fields, metrics, reasons,
// conditions, Events, keys and Helm values. With -check it writes nothing and fails if a page differs.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "compare the pages with the code instead of writing them")
	root := flag.String("root", ".", "`directory` of the repository")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	pages, err := Pages(root)
	if err != nil {
		return err
	}
	var errs []error
	for _, page := range pages {
		file := filepath.Join(root, filepath.FromSlash(page.Path))
		if check {
			errs = append(errs, compare(file, page))
			continue
		}
		errs = append(errs, os.WriteFile(file, []byte(page.Text), 0o644))
	}
	return errors.Join(errs...)
}

func compare(file string, page Page) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading a page: %w", err)
	}
	if !bytes.Equal(content, []byte(page.Text)) {
		return fmt.Errorf("%s differs from the code: run go run ./test/reference", page.Path)
	}
	return nil
}
