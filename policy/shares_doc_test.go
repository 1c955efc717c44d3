package policy_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/page/pagetest"
)

// TestSharesPage compares the table of the page with what Shares computes. With -update it writes the table.
func TestSharesPage(t *testing.T) {
	pagetest.Check(t, "../docs/guides/shares.md", "./policy -run TestSharesPage", sharesTable(t), *update)
}

// sharesOfThePage are the annotations of the rows, each with numbers of replicas.
var sharesOfThePage = []struct {
	share, least, most, cloud string
	replicas                  []int
}{
	{share: "3", replicas: []int{2, 10}},
	{share: "30%", replicas: []int{1, 4, 5, 10, 100}},
	{least: "2", replicas: []int{1, 10}},
	{least: "50%", replicas: []int{5}},
	{most: "3", replicas: []int{2, 10}},
	{cloud: "3", replicas: []int{10}},
	{cloud: "50%", replicas: []int{1, 5, 10}},
	{share: "30%", least: "2", replicas: []int{1, 4, 10}},
	{share: "30%", most: "5", replicas: []int{10, 100}},
	{share: "30%", cloud: "70%", replicas: []int{4, 10}},
	{share: "3", cloud: "5", replicas: []int{8, 10}},
	{least: "5", most: "30%", replicas: []int{10, 20}},
	{share: "30%", least: "2", most: "5", cloud: "8", replicas: []int{4, 10, 20}},
}

func sharesTable(t *testing.T) string {
	t.Helper()
	var table strings.Builder
	table.WriteString("| annotations | replicas | never burst | local at most | cloud at most | " +
		"local nodes have room | local nodes are full |\n|---|---|---|---|---|---|---|\n")
	for _, row := range sharesOfThePage {
		s, err := policy.ParseShares(present(map[string]string{
			policy.LocalReplicasAnnotation: row.share, policy.LocalMinAnnotation: row.least,
			policy.LocalMaxAnnotation: row.most, policy.CloudMaxAnnotation: row.cloud,
		}))
		require.NoError(t, err)
		name := "`" + strings.ReplaceAll(strings.ReplaceAll(s.String(), policy.Prefix, ""), ", ", "`, `") + "`"
		for _, replicas := range row.replicas {
			local, floor := min(replicas, s.LocalCap(replicas)), min(replicas, s.LocalFloor(replicas))
			fmt.Fprintf(&table, "| %s | %d | %d | %s | %s | %s | %s |\n", name, replicas, floor,
				capText(s.LocalCap(replicas)), capText(s.CloudCap(replicas)),
				split(replicas, local, min(replicas-local, s.CloudCap(replicas))),
				split(replicas, 0, min(replicas-floor, s.CloudCap(replicas))))
		}
	}
	return table.String()
}

func capText(limit int) string {
	if limit == policy.NoCap {
		return "–"
	}
	return strconv.Itoa(limit)
}

// split says where the replicas are. Those that are nowhere wait.
func split(replicas, local, inCloud int) string {
	var parts []string
	for _, part := range []struct {
		replicas int
		where    string
	}{{local, "local"}, {inCloud, "cloud"}, {replicas - local - inCloud, "waiting"}} {
		if part.replicas > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.replicas, part.where))
		}
	}
	return strings.Join(parts, ", ")
}
