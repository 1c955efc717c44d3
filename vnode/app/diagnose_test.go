package app

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// diagnosed returns the Events of the first start of a virtual node.
func diagnosed(t *testing.T, version policy.CCIVersion, faults ...ccisim.Fault) (events []string, requests int) {
	t.Helper()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	for _, fault := range faults {
		cloud.Fault(t, fault)
	}
	c := settings(t)
	c.Policy.CCIVersion = version
	c.CCI.Endpoint, c.CCI.IAMEndpoint, c.CCI.ProjectID = cloud.URL, cloud.URL, cloudtest.Account.ProjectID
	c.CCI.CredentialsFile = writeKeys(t)
	recorder := record.NewFakeRecorder(20)
	a := &App{config: c, guard: always{}, recorder: recorder, logger: slog.New(slog.DiscardHandler)}
	a.diagnose(t.Context())
	close(recorder.Events)
	for event := range recorder.Events {
		events = append(events, event)
	}
	return events, cloud.CountRequests("", "", 0)
}

func TestTheFirstStartShowsWhatIsWrongWithTheAccount(t *testing.T) {
	events, requests := diagnosed(t, policy.CCI2, ccisim.Fault{Kind: ccisim.NoAgency})
	require.Len(t, events, 1)
	assert.Contains(t, events[0],
		"Warning CloudFinding DR203 CCI is not authorized: the service answers 403 CCI.01.403122")
	assert.Contains(t, events[0], "Open the CCI console")
	assert.Less(t, requests, 20, "it is cheap")
}

func TestTheFirstStartOfAGoodAccountShowsNothing(t *testing.T) {
	events, requests := diagnosed(t, policy.CCI2)
	assert.Empty(t, events)
	assert.NotZero(t, requests)
	assert.Less(t, requests, 30, "it is cheap")
}

func TestCCI1IsNotChecked(t *testing.T) {
	events, requests := diagnosed(t, policy.CCI1)
	assert.Empty(t, events)
	assert.Zero(t, requests)
}
