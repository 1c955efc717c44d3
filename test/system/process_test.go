package system

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// parentCommand makes the test binary start a process that dies with it, print "started" and wait until it is killed.
const parentCommand = "be-a-parent"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == parentCommand {
		if err := newProcesses(os.Args[2], true).start("sleeper", "/bin/sleep", []string{"600"}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("started")
		select {}
	}
	os.Exit(m.Run())
}

func testProcesses(t *testing.T) *processes {
	t.Helper()
	p := newProcesses(t.TempDir(), false)
	require.NoError(t, os.MkdirAll(filepath.Join(p.dir, "logs"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(p.dir, "pids"), 0o755))
	t.Cleanup(func() { assert.NoError(t, p.endAll(context.Background())) })
	return p
}

func TestProcessIsFoundUntilItEnds(t *testing.T) {
	p := testProcesses(t)
	require.Nil(t, p.find("sleeper"))
	require.NoError(t, p.start("sleeper", "/bin/sleep", []string{"600"}))

	process := p.find("sleeper")
	require.NotNil(t, process)
	assert.Nil(t, p.find("other"))
	session, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(process.Pid), 0, 0)
	require.Zero(t, errno)
	assert.Equal(t, process.Pid, int(session), "the process has its own session, so a closing terminal does not end it")

	require.NoError(t, p.end(t.Context(), "sleeper", process, syscall.SIGTERM, stopGrace))
	assert.Nil(t, p.find("sleeper"))
	assert.NoFileExists(t, p.pidFile("sleeper"))
}

func TestProcessThatIgnoresSIGTERMIsKilled(t *testing.T) {
	p := testProcesses(t)
	require.NoError(t, p.start("stubborn", "/bin/sh", []string{"-c", `trap "" TERM; echo trapped; kill -STOP $$`}))
	require.Eventually(t, func() bool { return p.tail("stubborn") == "trapped" }, time.Minute, time.Millisecond)
	require.NoError(t, p.end(t.Context(), "stubborn", p.find("stubborn"), syscall.SIGTERM, 50*time.Millisecond))
	assert.Nil(t, p.find("stubborn"))
}

func TestProcessOfAnotherOwnerIsNeverEnded(t *testing.T) {
	p := testProcesses(t)
	foreign := exec.Command("/bin/sleep", "600")
	require.NoError(t, foreign.Start())
	ended := make(chan error, 1)
	go func() { ended <- foreign.Wait() }()
	// A reused process ID: a pid file of this system contains the ID of a process that is not part of it.
	require.NoError(t, os.WriteFile(p.pidFile(Extender), []byte(strconv.Itoa(foreign.Process.Pid)), 0o644))
	// A process of another system.
	other := testProcesses(t)
	require.NoError(t, other.start(Extender, "/bin/sleep", []string{"600"}))

	assert.Nil(t, p.find(Extender))
	require.NoError(t, p.endAll(t.Context()))
	assert.NotNil(t, other.find(Extender))
	require.NoError(t, foreign.Process.Kill())
	var status *exec.ExitError
	require.ErrorAs(t, <-ended, &status)
	assert.Equal(t, syscall.SIGKILL, status.Sys().(syscall.WaitStatus).Signal(),
		"the test has ended it, and no SIGTERM before")
}

func TestProcessWithoutPIDFileIsStopped(t *testing.T) {
	p := testProcesses(t)
	require.NoError(t, p.start("sleeper", "/bin/sleep", []string{"600"}))
	require.NoError(t, os.Remove(p.pidFile("sleeper")))
	running, err := p.all()
	require.NoError(t, err)
	require.Len(t, running, 1)
	require.NoError(t, p.endAll(t.Context()))
	running, err = p.all()
	require.NoError(t, err)
	assert.Empty(t, running)
}

func TestProcessDiesWithItsParent(t *testing.T) {
	p := testProcesses(t)
	parent := exec.Command(os.Args[0], parentCommand, p.dir)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started\n", line)
	require.NotNil(t, p.find("sleeper"))

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait() // Reports that it was killed.
	assert.Eventually(t, func() bool { return p.find("sleeper") == nil }, time.Minute, time.Millisecond)
}
