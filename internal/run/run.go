// Package run starts and stops a program: signals, exit codes, and the only place where the final error is logged. It
// knows nothing about the program.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// Exit codes of the programs.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// ErrUsage wraps errors in flags and configuration. The program exits with code 2.
var ErrUsage = errors.New("usage")

// Main runs a program until it ends, or until SIGINT or SIGTERM, which cancel its context. A second signal kills it.
// Main returns the exit code: 0 after a graceful shutdown and for --help, 2 for errors in flags or configuration, 1 for
// all other errors.
func Main(program func(ctx context.Context, args []string) error) int {
	return run(program, func(err error) { slog.Error("ending", "err", err) })
}

// Tool does the same for a command that a user runs: it prints the error instead of logging it.
func Tool(command func(ctx context.Context, args []string) error) int {
	return run(command, func(err error) { fmt.Fprintln(os.Stderr, "error:", err) })
}

func run(program func(ctx context.Context, args []string) error, report func(error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // From here on a signal has its default effect.
	return exitCode(program(ctx, os.Args[1:]), report)
}

func exitCode(err error, report func(error)) int {
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp), errors.Is(err, context.Canceled):
		return exitOK
	case errors.Is(err, ErrUsage):
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	default:
		report(err)
		return exitFailed
	}
}
