package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A golden file for each world holds what the command prints.
func TestTheFindingsOfEachWorld(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			got, err := w.run(t.Context())
			require.NoError(t, err)
			assert.Empty(t, got.left, "nothing is left in the cloud")
			golden := filepath.Join("testdata", w.name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got.text), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got.text)
		})
	}
}
