package run

import (
	"os"
	"regexp"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// required returns the version of a module in a go.mod file.
func required(t *testing.T, file, module string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	match := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(module) + ` v\d+\.(\S+)`).FindSubmatch(data)
	require.NotNil(t, match, "%s requires %s", file, module)
	return string(match[1])
}

func TestTheVersionOfKubernetesIsThatOfGoMod(t *testing.T) {
	want := required(t, "../../go.mod", "k8s.io/api")
	assert.Equal(t, want, required(t, "../../test/cluster/go.mod", "k8s.io/kubernetes"),
		"the tests run the version that the programs are built for")
	assert.Equal(t, "v1."+want, kubernetesVersion([]*debug.Module{
		{Path: "k8s.io/apimachinery", Version: "v0.1.2"}, {Path: "k8s.io/api", Version: "v0." + want},
	}))
	assert.Equal(t, "v1", kubernetesVersion(nil))
}
