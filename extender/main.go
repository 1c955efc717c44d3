// The extender is asked by a stock kube-scheduler about Pods that carry a local quota or a burst label: it decides whether they
// stay on local nodes or run in the cloud, and keeps local quotas exactly. See docs/extender.md.
package main

import (
	"os"

	"github.com/spillway-k8s/spillway/internal/run"
)

func main() { os.Exit(run.Main(program)) }
