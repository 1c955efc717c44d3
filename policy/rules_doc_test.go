package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/page/pagetest"
)

// TestRestrictionsPage compares the table of the page with the rules. With -update it writes the table; the text around
// it is the writer's.
func TestRestrictionsPage(t *testing.T) {
	pagetest.Check(t, "../docs/restrictions.md", "./policy -run TestRestrictionsPage", rulesTable(), *update)
}

func rulesTable() string {
	var table strings.Builder
	table.WriteString("| Reason | What cannot run in the cloud | Source |\n|---|---|---|\n")
	for _, rule := range policy.Rules() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", rule.Reason, rule.Text, rule.Source)
	}
	return table.String()
}
