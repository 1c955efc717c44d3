// It says its version, and nothing else.
package main

import (
	"fmt"

	"github.com/spillway-k8s/spillway/internal/run"
)

func main() { fmt.Println(run.Version("program")) }
