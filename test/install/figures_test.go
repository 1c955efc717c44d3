package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pluginPods are what the vendor's plug-in for virtual nodes takes (its manual, "CCE Cloud Bursting Engine for CCI"), by preset.
var pluginPods = map[string]int{single: 7, highlyAvailable: 14}

const (
	single          = "single"
	highlyAvailable = "HA"
)

// footprint is what Spillway takes of the cluster.
type footprint struct {
	pods int
	// memory is the working set in MiB that the kubelets report, pauses included.
	memory float64
}

// summary is the part of a kubelet's /stats/summary that is read here.
type summary struct {
	Pods []struct {
		PodRef struct{ Name, Namespace string }
		Memory *struct{ WorkingSetBytes *uint64 }
	}
}

// footprint measures what runs now, but for the simulator, when every kubelet has looked at all of it.
func (c *cluster) footprint(t *testing.T) footprint {
	t.Helper()
	var found footprint
	c.eventually(t, "the kubelets to know the memory of all Pods", func(ctx context.Context) error {
		pods, err := c.own(ctx)
		if err != nil {
			return err
		}
		used, err := c.memory(ctx)
		if err != nil {
			return err
		}
		found = footprint{pods: len(pods)}
		for _, pod := range pods {
			if used[pod.Name] == 0 {
				return fmt.Errorf("nothing is known of %s", pod.Name)
			}
			found.memory += float64(used[pod.Name]) / (1 << 20)
		}
		return nil
	})
	return found
}

// memory returns the working sets of the Pods of Spillway's namespace in bytes.
func (c *cluster) memory(ctx context.Context) (map[string]uint64, error) {
	used := map[string]uint64{}
	for _, node := range systemNodes {
		answer, err := c.Client().CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", node, "proxy/stats/summary").DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking the kubelet of %s: %w", node, err)
		}
		var stats summary
		if err := json.Unmarshal(answer, &stats); err != nil {
			return nil, fmt.Errorf("decoding the answer of the kubelet of %s: %w", node, err)
		}
		for _, pod := range stats.Pods {
			if pod.PodRef.Namespace == namespace && pod.Memory != nil && pod.Memory.WorkingSetBytes != nil {
				used[pod.PodRef.Name] = *pod.Memory.WorkingSetBytes
			}
		}
	}
	if len(used) == 0 {
		return nil, errors.New("the kubelets report nothing yet")
	}
	return used, nil
}

// figures are what a run has measured.
type figures struct {
	// firstBurst is from the beginning of helm install until a Pod runs in the cloud, and ready until all of Spillway is, in seconds.
	firstBurst, ready float64
	footprints        map[string]footprint
}

// table is how the page shows them.
func (f figures) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "From `helm install` until all of Spillway was ready: %.1f s; until the first Pod ran in the (simulated) cloud: %.1f s. The images were on the nodes.\n\n", f.ready, f.firstBurst)
	text.WriteString("| preset | Pods | memory, MiB | Pods of the CCE plug-in |\n|---|--:|--:|--:|\n")
	for _, preset := range []string{single, highlyAvailable} {
		fmt.Fprintf(&text, "| %s | %d | %.0f | %d |\n", preset, f.footprints[preset].pods, f.footprints[preset].memory, pluginPods[preset])
	}
	return text.String()
}

// checkSmaller holds that a preset takes fewer Pods than the plug-in's.
func (f figures) checkSmaller(t *testing.T, preset string) {
	t.Helper()
	require.Less(t, f.footprints[preset].pods, pluginPods[preset], "Pods of the preset %s", preset)
}
