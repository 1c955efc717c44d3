// ccisim is a simulated Huawei Cloud CCI 2.0, for trials and tests. See the package it is made of for what it does.
package main

import (
	"os"

	"github.com/spillway-k8s/spillway/internal/run"
)

func main() { os.Exit(run.Main(program)) }
