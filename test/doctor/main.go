// Doctor runs "vnode doctor --create" against the simulated cloud, in its default and in five bad worlds, and prints
// what it finds. Its tests compare the same with golden files.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spillway-k8s/spillway/internal/logging"
)

func main() {
	// As in the program: libraries report closed streams of commands as errors.
	if _, err := logging.SetUp(logging.Default(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "doctor:", err)
		os.Exit(1)
	}
	for _, w := range worlds() {
		fmt.Printf("=== %s: %s\n\n", w.name, w.about)
		result, err := w.run(context.Background())
		if err != nil {
			fmt.Fprintf(os.Stderr, "doctor: running in the world %s: %v\n", w.name, err)
			os.Exit(1)
		}
		fmt.Printf("%s\n", result.text)
	}
}
