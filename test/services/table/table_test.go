package table

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/page"
)

var update = flag.Bool("update", false, "write the table to the page")

const guide = "../../../docs/guides/services.md"

func TestServicesPage(t *testing.T) {
	if *update {
		require.NoError(t, page.Rewrite(guide, map[string]string{"table": Markdown()}))
	}
	content, err := os.ReadFile(guide)
	require.NoError(t, err)
	assert.Contains(t, string(content), Markdown(), "run go test ./test/services/table -update")
}

func TestEveryRowHasOneOutcomeForADirection(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Rows() {
		assert.False(t, seen[row.Name], "%s is there twice", row.Name)
		seen[row.Name] = true
		directions := map[Direction]bool{}
		for _, line := range row.Lines {
			for _, direction := range line.Directions {
				assert.Contains(t, Directions(), direction)
				assert.False(t, directions[direction], "%s: %s is there twice", row.Name, direction)
				directions[direction] = true
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	assert.Len(t, policy.ServicesModes(), len(Line{}.Outcomes))
	row := rows("row")(in(TimesOut, Works, Refused, NoName, CloudToLocal))[0]
	assert.Equal(t, TimesOut, row.Outcome(policy.ServicesOff, CloudToLocal))
	assert.Equal(t, NoName, row.Outcome(policy.ServicesKubeProxy, CloudToLocal))
	assert.Empty(t, row.Outcome(policy.ServicesOff, CloudToCloud))
}

func TestALineOfTheTable(t *testing.T) {
	lines := strings.Split(Markdown(), "\n")
	assert.Equal(t, "| Service | direction | `off` | `routed` | `proxy` | `kube-proxy` |", lines[0])
	assert.Equal(t,
		"| ClusterIP with a named target port | cloud to local, cloud to cloud | times out | yes | yes | yes |", lines[2])
	assert.Equal(t, "|  | local to cloud | yes | yes | yes | yes |", lines[3])
}
