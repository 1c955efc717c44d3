package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programVariable makes the test binary run a program instead of the tests: signals and exit codes are a process's.
const programVariable = "SPILLWAY_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if name := os.Getenv(programVariable); name != "" {
		os.Exit(Main(programs[name]))
	}
	os.Exit(m.Run())
}

var programs = map[string]func(context.Context, []string) error{
	"graceful": func(ctx context.Context, _ []string) error {
		fmt.Println("started")
		<-ctx.Done()
		fmt.Println("ending")
		return ctx.Err()
	},
	"stuck": func(ctx context.Context, _ []string) error {
		fmt.Println("started")
		<-ctx.Done()
		fmt.Println("ending")
		select {}
	},
	"failing": func(context.Context, []string) error { return errors.New("listening on :1: permission denied") },
	"misused": func(_ context.Context, args []string) error {
		return fmt.Errorf("%w: unknown flag %s", ErrUsage, args[0])
	},
}

func command(t *testing.T, name string, args ...string) (*exec.Cmd, *bufio.Reader, *strings.Builder) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), programVariable+"="+name)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewReader(stdout), &stderr
}

func requireLine(t *testing.T, from *bufio.Reader, want string) {
	t.Helper()
	line, err := from.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, want+"\n", line)
}

func TestASignalEndsAProgramGracefully(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd, stdout, stderr := command(t, "graceful")
			requireLine(t, stdout, "started")
			require.NoError(t, cmd.Process.Signal(signal))
			requireLine(t, stdout, "ending")
			_, err := io.Copy(io.Discard, stdout)
			require.NoError(t, err)
			require.NoError(t, cmd.Wait(), "code 0")
			assert.Empty(t, stderr.String())
		})
	}
}

func TestASecondSignalEndsAProgramAtOnce(t *testing.T) {
	cmd, stdout, _ := command(t, "stuck")
	requireLine(t, stdout, "started")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	requireLine(t, stdout, "ending")
	// The first signal's effect and the word "ending" race by a moment: signals are sent until one counts.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal())
			return
		case <-time.After(5 * time.Millisecond):
			_ = cmd.Process.Signal(syscall.SIGTERM) // It may have ended meanwhile.
		}
	}
}

func TestWhatEndsAProgramIsSaidOnce(t *testing.T) {
	cases := map[string]struct {
		args     []string
		wantCode int
		want     string
	}{
		"failing": {nil, exitFailed, "listening on :1: permission denied"},
		"misused": {[]string{"--nama"}, exitUsage, "usage: unknown flag --nama\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cmd, _, stderr := command(t, name, tc.args...)
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Wait(), &exit)
			assert.Equal(t, tc.wantCode, exit.ExitCode())
			assert.Equal(t, 1, strings.Count(stderr.String(), tc.want), stderr.String())
		})
	}
}
