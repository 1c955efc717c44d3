package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
)

// asCommand makes the test binary the command that is run.
const asCommand = "POLICIES_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		os.Exit(m.Run())
	}
	policies, err := faults.FromEnvironment()
	fmt.Println(len(os.Args), policies.Fields, policies.BareErrors, err)
	if policies.BareErrors {
		os.Exit(1)
	}
}

func TestTheCommandIsRunUnderEachSet(t *testing.T) {
	t.Setenv(asCommand, "yes")
	var out bytes.Buffer
	err := play(t.Context(), []string{
		"--sets=default,bareErrors=true,fields=refuse", os.Args[0], "--sets=all",
	}, &out, &out)
	require.EqualError(t, err, "failed under the policies bareErrors=true")
	assert.Regexp(t, `^2  false <nil>
=== policies default: passed after [0-9.]+s
2 refuse false <nil>
=== policies fields=refuse: passed after [0-9.]+s
2  true <nil>
=== policies bareErrors=true: exit status 1 after [0-9.]+s
$`, out.String())
}

func TestWrongArguments(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no command":           {nil, "a command is needed"},
		"an unknown set":       {[]string{"--sets=none", "true"}, `--sets: "none": must be of default, fields=refuse, `},
		"an unknown flag":      {[]string{"--set=all", "true"}, "unknown flag: --set"},
		"a missing value":      {[]string{"--sets"}, "flag needs an argument"},
		"a set without a name": {[]string{"--sets=all,", "true"}, `--sets: ""`},
	} {
		t.Run(name, func(t *testing.T) {
			err := play(t.Context(), test.args, nil, nil)
			require.ErrorIs(t, err, run.ErrUsage)
			assert.ErrorContains(t, err, test.want)
		})
	}
}
