package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// showFile makes the extender only print its time. It is initialized after jumpFile.
const showFile = `package main

import (
	"fmt"
	"time"
)

func init() {
	for {
		fmt.Println(time.Now().Unix())
		time.Sleep(time.Millisecond)
	}
}
`

func TestTheClockOfTheExtenderJumpsAtASignal(t *testing.T) {
	edits, err := jumpingClock(t.Context())
	require.NoError(t, err)
	binary := mustBuild(t, append(edits, edit{filepath.Join("extender", "show.go"), "", showFile})...)
	command := exec.CommandContext(t.Context(), binary)
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Wait() }) // The context of the test kills it.
	lines := bufio.NewScanner(output)
	awaitAhead := func(hours int64) {
		t.Helper()
		for lines.Scan() {
			seconds, err := strconv.ParseInt(lines.Text(), 10, 64)
			require.NoError(t, err)
			ahead := time.Duration(seconds-time.Now().Unix()) * time.Second
			if ahead.Round(time.Hour) == time.Duration(hours)*time.Hour {
				return
			}
		}
		assert.Fail(t, "the program has ended")
	}
	awaitAhead(0)
	require.NoError(t, command.Process.Signal(syscall.SIGUSR1))
	awaitAhead(1)
	require.NoError(t, command.Process.Signal(syscall.SIGUSR2))
	awaitAhead(0)
}

func TestAnEditWithoutEffectIsAnError(t *testing.T) {
	_, err := build(t.Context(), t.TempDir(), edit{filepath.Join("extender", "main.go"), "no such text", ""})
	require.ErrorContains(t, err, `editing extender/main.go: it contains "no such text" 0 times: must be once`)
}
