// The plugin of kubectl: "kubectl spillway" says where Pods run and why, what would change it, and what it costs. It
// works with the rights of its user and needs no server of Spillway. See docs/cli.md.
package main

import (
	"context"
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/spillway-k8s/spillway/cli/command"
	"github.com/spillway-k8s/spillway/internal/run"
)

func main() { os.Exit(run.Tool(program)) }

func program(ctx context.Context, args []string) error {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	root := command.New(streams)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
