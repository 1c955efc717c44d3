package cci

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	utilexec "k8s.io/utils/exec"
)

func TestDecodeResult(t *testing.T) {
	cases := map[string]struct {
		frame    string
		wantCode int
		wantKind Kind
		wantErr  string
	}{
		"success": {frame: `{"status":"Success"}`},
		"an exit code": {
			frame: `{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",` +
				`"details":{"causes":[{"reason":"ExitCode","message":"42"}]}}`,
			wantCode: 42, wantErr: "command terminated with exit code 42",
		},
		"an exit code that is no number": {
			frame: `{"status":"Failure","reason":"NonZeroExitCode","message":"failed",` +
				`"details":{"causes":[{"reason":"ExitCode","message":"x"}]}}`,
			wantKind: Permanent, wantErr: "failed",
		},
		"no exit code": {
			frame: `{"status":"Failure","message":"Internal error occurred: error executing command in container: ` +
				`no such file"}`,
			wantKind: Permanent, wantErr: "no such file",
		},
		"not a Status": {frame: "{", wantKind: Transient, wantErr: "decoding the result of the command"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := decodeResult([]byte(tc.frame))
			if tc.wantErr == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tc.wantErr)
			assert.Equal(t, tc.wantKind, KindOf(err))
			assert.NotContains(t, err.Error(), "Internal error occurred")
			if exited, ok := err.(utilexec.ExitError); ok || tc.wantCode != 0 {
				assert.Equal(t, tc.wantCode, exited.ExitStatus())
			}
		})
	}
}
