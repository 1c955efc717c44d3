package ledger_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
)

// An attack: a tenant lets twenty thousand Pods wait. The scheduler tries each of them again after every change of a
// node, and all other Pods wait for each answer.
func TestThousandsOfWaitingPodsAreAnsweredInLittleTime(t *testing.T) {
	const pods = 20_000
	sizes := []string{"1.00_1.0", "1.00_2.0", "2.00_4.0", "64.00_512.0"}
	for name, test := range map[string]struct {
		holder string
		ask    func(c *cluster, name string) ledger.Outcome
		want   ledger.Outcome
	}{
		"for limits that leave a little room": {"virtual-0", (*cluster).cloud, ledger.Limited},
		"for the slots of a quota": {
			"local-0", func(c *cluster, name string) ledger.Outcome { return c.reserve(name, true, false) },
			ledger.Wait,
		},
		"for room on local nodes": {
			"local-0", func(c *cluster, name string) ledger.Outcome {
				return c.ask(name, policy.Shares{LocalMin: percent(100)}, now)
			},
			ledger.LocalMinimum,
		},
		"for the time when they may burst": {
			"local-0", func(c *cluster, name string) ledger.Outcome {
				return c.ask(name, policy.Shares{LocalMax: percent(100)}, late)
			},
			ledger.BurstAfter,
		},
		"for the cloud share": {
			"virtual-0", func(c *cluster, name string) ledger.Outcome {
				return c.ask(name, policy.Shares{CloudMax: number(1)}, now)
			},
			ledger.CloudMaximum,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.limit("pods=50,cpu=1")
			c.pod("first", bound(test.holder), sized("0.50_1.0"))
			names := make([]string, pods)
			for i := range names {
				names[i] = fmt.Sprintf("w%d", i)
				c.pod(names[i], sized(sizes[i%len(sizes)]))
			}
			for range 2 { // The first round fills the queue.
				costtest.AtMost(t, 100<<20, func() {
					for _, name := range names {
						require.Equal(t, test.want, test.ask(c, name))
					}
				})
			}
			costtest.AtMost(t, 100<<20, func() {
				for _, name := range names {
					c.delete(name)
				}
			})
		})
	}
}
