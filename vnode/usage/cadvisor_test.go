package usage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	testclock "k8s.io/utils/clock/testing"
)

func TestTheMetricsOfCAdvisor(t *testing.T) {
	clock := testclock.NewFakeClock(begin)
	e := newExporter(t, used("web", 12.5, 1000)+`container_memory_rss{container="web"} 600`+"\n"+used("side", 1, 10))
	target := e.target("shop-0", "web", "side")
	target.Images = map[string]string{"web": "nginx:1", "side": "proxy"}
	recorder := httptest.NewRecorder()
	newCollector(t, clock, target).ServeCAdvisor(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	at := fmt.Sprint(begin.UnixMilli())
	labels := `container="web",%sid="/kubepods/poduid-shop-0/web",image="nginx:1",name="web_uid-shop-0",` +
		`namespace="ns",pod="shop-0"`
	for _, line := range []string{
		"container_cpu_usage_seconds_total{" + fmt.Sprintf(labels, `cpu="total",`) + "} 12.5 " + at,
		"container_memory_working_set_bytes{" + fmt.Sprintf(labels, "") + "} 1000 " + at,
		"container_memory_rss{" + fmt.Sprintf(labels, "") + "} 600 " + at,
		"container_scrape_error 0",
	} {
		assert.Contains(t, recorder.Body.String(), line+"\n")
	}
	assert.Contains(t, recorder.Body.String(), `container_start_time_seconds{`+fmt.Sprintf(labels, ""))
	assert.NotContains(t, recorder.Body.String(), "container_memory_usage_bytes{", "what is not reported is left out")
}
