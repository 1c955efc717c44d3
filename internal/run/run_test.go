package run

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
)

func TestExitCode(t *testing.T) {
	cases := map[string]struct {
		err  error
		want int
	}{
		"a graceful end is 0":           {nil, exitOK},
		"a cancelled context is 0":      {fmt.Errorf("serving: %w", context.Canceled), exitOK},
		"asking for help is 0":          {pflag.ErrHelp, exitOK},
		"a wrong flag is 2":             {fmt.Errorf("%w: unknown flag", ErrUsage), exitUsage},
		"any other error is 1":          {errors.New("boom"), exitFailed},
		"a deadline is an error like 1": {context.DeadlineExceeded, exitFailed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var reported error
			assert.Equal(t, tc.want, exitCode(tc.err, func(err error) { reported = err }))
			assert.Equal(t, tc.want == exitFailed, reported != nil, "other errors are reported")
		})
	}
}
