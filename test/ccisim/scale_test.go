package ccisim_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sprint(format string, value any) string { return fmt.Sprintf(format, value) }

// createMany creates n Pods from several goroutines.
func (b *env) createMany(n int) {
	b.t.Helper()
	work := make(chan int)
	var group sync.WaitGroup
	for range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range work {
				a := b.do("POST", podsPath, podBody(fmt.Sprintf("p-%05d", i)))
				assert.NoError(b.t, a.err)
				assert.Equal(b.t, http.StatusCreated, a.status, "%s", a.body)
			}
		}()
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
}

func TestThousandPodsWithWatches(t *testing.T) {
	const n, watchers = 1000, 4
	b := newNamespaceEnv(t)
	meta, _ := b.list(podsPath)
	seen := make([]map[string][]string, watchers)
	var group sync.WaitGroup
	for i := range watchers {
		w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
		seen[i] = map[string][]string{}
		group.Add(1)
		go func() {
			defer group.Done()
			for gone := 0; gone < n; {
				select {
				case event := <-w.events:
					name := event.Object.Metadata.Name
					seen[i][name] = append(seen[i][name], event.Type)
					if event.Type == "DELETED" {
						gone++
					}
				case err := <-w.end:
					assert.NoError(t, err, "watch %d ended", i)
					return
				}
			}
		}()
	}
	begin := time.Now()
	b.createMany(n)
	created := time.Since(begin)
	b.eventually(func() bool { return b.sim.CountPods("ns", "Running") == n }, "all Pods run")
	t.Logf("%d Pods created in %s, all Running after %s, under %d watches", n, created, time.Since(begin), watchers)

	addresses := map[string]bool{}
	var list struct {
		Items []struct{ Status struct{ PodIP string } }
	}
	require.Equal(t, http.StatusOK, b.get(podsPath, &list))
	for _, item := range list.Items {
		addresses[item.Status.PodIP] = true
	}
	assert.Len(t, addresses, n, "every Pod has a different address")

	b.want(http.StatusOK, "DELETE", "/apis/cci/v2/namespaces/ns", nil)
	group.Wait()
	for i := range watchers {
		require.Len(t, seen[i], n, "watch %d", i)
		for name, events := range seen[i] {
			assert.Equal(t, "ADDED", events[0], "watch %d: %s", i, name)
			assert.Equal(t, "DELETED", events[len(events)-1], "watch %d: %s", i, name)
			for _, event := range events[1 : len(events)-1] {
				assert.Equal(t, "MODIFIED", event, "watch %d: %s", i, name)
			}
		}
	}
	for _, record := range b.sim.PodsEver() {
		assert.NotNil(t, record.Deleted)
	}
}

func BenchmarkCreatePod(b *testing.B) {
	bench := newNamespaceEnv(b)
	b.ResetTimer()
	bench.createMany(b.N)
}
