package pagetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// judged is a test that is only looked at.
type judged struct {
	testing.TB
	failed bool
}

func (j *judged) Helper()               {}
func (j *judged) Errorf(string, ...any) { j.failed = true }
func (j *judged) FailNow()              { panic(j) }

func TestAPageThatSaysSomethingElseFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	const test = "./x -run TestX"
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	const before, after = "before\n<!-- begin: written by go test ./x -run TestX -update -->\n", "<!-- end -->\nafter\n<!-- end -->\n"

	write(before + "old\n" + after)
	stale := &judged{TB: t}
	Check(stale, file, test, "new\n", false)
	assert.True(t, stale.failed)
	Check(t, file, test, "new\n", true)
	Check(t, file, test, "new\n", false)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before+"new\n"+after, string(text), "what stands around it stays")

	for name, without := range map[string]string{"the first mark": "before\n" + after, "the second": before} {
		write(without)
		assert.Panics(t, func() { Check(&judged{TB: t}, file, test, "new\n", true) }, name)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, without, string(text), name)
	}
}
