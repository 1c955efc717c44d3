// Ccisim is a simulated Huawei Cloud CCI, for trials and tests. Package ccisim says what it does.
package main

import (
	"os"

	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/ccisim"
)

func main() {
	ccisim.Init()
	os.Exit(run.Main(program))
}
