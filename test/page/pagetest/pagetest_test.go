package pagetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder is a test that records whether it fails.
type recorder struct {
	testing.TB
	failed bool
}

func (j *recorder) Helper()               {}
func (j *recorder) Errorf(string, ...any) { j.failed = true }
func (j *recorder) FailNow()              { panic(j) }

func TestAPageWithAnotherTextFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	const test = "./x -run TestX"
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	const before = "before\n<!-- begin: written by go test ./x -run TestX -update -->\n"
	const after = "<!-- end -->\nafter\n<!-- end -->\n"

	write(before + "old\n" + after)
	stale := &recorder{TB: t}
	Check(stale, file, test, "new\n", false)
	assert.True(t, stale.failed)
	Check(t, file, test, "new\n", true)
	Check(t, file, test, "new\n", false)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before+"new\n"+after, string(text), "the text around the part is unchanged")

	for name, without := range map[string]string{"the first mark": "before\n" + after, "the second": before} {
		write(without)
		assert.Panics(t, func() { Check(&recorder{TB: t}, file, test, "new\n", true) }, name)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, without, string(text), name)
	}
}
