package policy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	restrictionsFile = "../docs/restrictions.md"
	tableBegin       = "<!-- begin: written by go test ./policy -run TestRestrictionsPage -update -->\n"
	tableEnd         = "<!-- end -->\n"
)

// TestRestrictionsPage compares the table of the page with the rules. With -update it writes the table; the text around it is
// the writer's.
func TestRestrictionsPage(t *testing.T) {
	data, err := os.ReadFile(restrictionsFile)
	require.NoError(t, err)
	page := string(data)
	before, rest, ok := strings.Cut(page, tableBegin)
	require.True(t, ok, "%s has the line %s", restrictionsFile, tableBegin)
	_, after, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok, "%s has the line %s", restrictionsFile, tableEnd)

	want := before + tableBegin + rulesTable() + tableEnd + after
	if *update {
		require.NoError(t, os.WriteFile(restrictionsFile, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, page, "run the test with -update to write the table")
}

func rulesTable() string {
	var table strings.Builder
	table.WriteString("| Reason | What cannot run in the cloud | Source |\n|---|---|---|\n")
	for _, rule := range policy.Rules() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", rule.Reason, rule.Text, rule.Source)
	}
	return table.String()
}
