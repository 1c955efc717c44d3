// Package pagetest compares pages of the documentation with the code: a test generates a part of a page, and compares
// or writes it. Package page writes measured figures.
package pagetest

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// end is the second mark of a part that a test writes.
const end = "<!-- end -->\n"

// Check checks that the part of a page between two marks is equal to text. The first mark names the test, as arguments
// of go test such as "./policy -run TestRestrictionsPage". With update it writes the text.
func Check(t testing.TB, page, test, text string, update bool) {
	t.Helper()
	begin := "<!-- begin: written by go test " + test + " -update -->\n"
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(content), begin)
	require.True(t, found, "%s must have the line %s", page, begin)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found, "%s must have the line %s after it", page, end)
	want := before + begin + text + end + after
	if update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, string(content), "run the test with -update")
}
