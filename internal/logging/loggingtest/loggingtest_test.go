package loggingtest

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinesAreChecked(t *testing.T) {
	const begin = `{"time":"x","level":"INFO","msg":"m"`
	for name, tc := range map[string]struct {
		lines   string
		others  bool
		wantErr string
	}{
		"known keys":            {begin + `,"pod":"a","err":{"a":[1]}}` + "\n", false, ""},
		"nothing":               {"", false, ""},
		"an unknown key":        {begin + `,"thing":1}` + "\n", false, "the key thing is not in logging.Keys"},
		"that of a library":     {begin + `,"thing":1}` + "\n", true, ""},
		"a key twice":           {begin + `,"thing":"a","thing":"b"}` + "\n", true, "the key thing is there twice"},
		"text":                  {"level=INFO msg=m\n", true, "no JSON object"},
		"an incomplete line":    {`{"msg":"m"` + "\n", true, "EOF"},
		"a line without a time": {`{"level":"INFO","msg":"m"}` + "\n", true, "the key time is missing"},
		"the second line":       {begin + "}\n" + begin + `,"a b":1}` + "\n", false, "the key a b is not"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check([]byte(tc.lines), tc.others)
			if tc.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
}

// recorder is a test that records whether it fails.
type recorder struct {
	testing.TB
	failed  bool
	cleanup func()
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Cleanup(f func())      { r.cleanup = f }

func TestTheHandlerFailsTheTestForAnUnknownKey(t *testing.T) {
	for key, want := range map[string]bool{"pod": false, "thing": true} {
		r := &recorder{TB: t}
		slog.New(Handler(r, slog.DiscardHandler)).Debug("m", key, 1)
		r.cleanup()
		assert.Equal(t, want, r.failed, key)
	}
}

func TestTheOutputOfAProgramIsChecked(t *testing.T) {
	before := os.Stderr
	Run(t, func(ctx context.Context, args []string) error {
		assert.Contains(t, args, "--log-format=json")
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Info("running", "args", args)
		<-ctx.Done()
		return ctx.Err()
	}, "running")
	assert.Same(t, before, os.Stderr)
}
