// Package run starts and ends a program: signals, exit codes and the one place where its last error is logged. It knows
// nothing of what the program does.
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

// ErrUsage wraps faults in flags and configuration: the program ends with code 2.
var ErrUsage = errors.New("usage")

// Main runs a program until it ends or SIGINT or SIGTERM asks it to; a second signal ends it at once. It returns the
// exit code: 0 for a graceful end and for --help, 2 for wrong flags or configuration, 1 for everything else.
func Main(program func(ctx context.Context, args []string) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // From here on a signal has its default effect.
	return exitCode(program(ctx, os.Args[1:]))
}

func exitCode(err error) int {
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp), errors.Is(err, context.Canceled):
		return exitOK
	case errors.Is(err, ErrUsage):
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	default:
		slog.Error("ending", "err", err)
		return exitFailed
	}
}
