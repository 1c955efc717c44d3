package prices_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestTheExampleForOpenCostHasThePricesOfTheExample reads both from docs/cost.md.
func TestTheExampleForOpenCostHasThePricesOfTheExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/cost.md")
	require.NoError(t, err)
	var blocks [][]byte
	for _, match := range yamlBlock.FindAllSubmatch(page, -1) {
		blocks = append(blocks, match[1])
	}
	require.Len(t, blocks, 2, "the values of the chart, and those of OpenCost")
	var values struct {
		Prices prices.Config `json:"prices"`
	}
	require.NoError(t, yaml.UnmarshalStrict(blocks[0], &values))
	table(t, values.Prices)
	// Source: OpenCost, pkg/cloud/models/models.go, CustomPricing: all fields are text, for an hour of a core or a GiB.
	var openCost struct {
		OpenCost struct {
			CustomPricing struct {
				Enabled   bool              `json:"enabled"`
				Provider  string            `json:"provider"`
				CostModel map[string]string `json:"costModel"`
			} `json:"customPricing"`
		} `json:"opencost"`
	}
	require.NoError(t, yaml.UnmarshalStrict(blocks[1], &openCost))
	model := openCost.OpenCost.CustomPricing.CostModel
	assert.True(t, openCost.OpenCost.CustomPricing.Enabled)
	assert.Equal(t, "custom", openCost.OpenCost.CustomPricing.Provider)
	assert.Equal(t, values.Prices.GeneralComputing, prices.Rates{CoreHour: model["spotCPU"], GiBHour: model["spotRAM"]})
	assert.NotEmpty(t, model["spotLabelValue"])
	assert.Equal(t, policy.VirtualNodeLabels()[model["spotLabel"]], model["spotLabelValue"])
}
