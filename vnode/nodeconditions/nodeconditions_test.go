package nodeconditions

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// note is the end of a request some time before now.
type note struct {
	ago       time.Duration
	operation string
	err       error
}

func TestWhatStandsAgainstThePlaceShows(t *testing.T) {
	tracker := NewTracker(func() time.Time { return time.Unix(1e9, 0) })
	place := func() []condition {
		return slices.DeleteFunc(tracker.conditions(), func(c condition) bool { return c.kind != Unusable })
	}
	assert.Empty(t, place(), "nobody has looked: what was written before stays")
	tracker.NotePlace(errors.New("the network has failed " + strings.Repeat("!", longest)))
	shown := place()
	require.Len(t, shown, 1)
	assert.True(t, shown[0].holds)
	assert.Len(t, shown[0].message, longest)
	assert.Contains(t, shown[0].message, "the network has failed")
	tracker.NotePlace(nil)
	shown = place()
	require.Len(t, shown, 1)
	assert.False(t, shown[0].holds)
}

func TestWhatHasHappenedShowsAsConditions(t *testing.T) {
	arrears := &cci.Error{Kind: cci.Denied, Status: 403, Code: "CCI.01.403009", Message: "arrears"}
	broken := &cci.Error{Kind: cci.Transient, Status: 503, Message: "down"}
	wrongKey := &cci.Error{Kind: cci.Denied, Status: 401, Code: "APIG.0301", Message: "verify aksk signature fail"}
	busy := &cci.Error{Kind: cci.Throttled, Status: 429, Message: "slow down"}
	missing := &cci.Error{Kind: cci.NotFound, Status: 404, Message: "no such pod"}
	for name, test := range map[string]struct {
		notes []note
		want  []string
	}{
		"nothing has happened yet": {},
		"all is well":              {notes: []note{{time.Second, "listPods", nil}}},
		"one kind of request is refused, others are not": {[]note{{2 * time.Second, "createPod", arrears}, {time.Second, "listPods", nil}}, []string{"CloudDenied"}},
		"the refused request succeeds in the end":        {notes: []note{{2 * time.Second, "createPod", arrears}, {time.Second, "createPod", nil}}},
		"the key is refused for everything":              {[]note{{2 * time.Second, "createPod", wrongKey}, {time.Second, "getPod", wrongKey}}, []string{"CloudDenied"}},
		"a key that is good for one thing is good for all": {notes: []note{
			{3 * time.Second, "createPod", wrongKey}, {2 * time.Second, "getPod", wrongKey}, {time.Second, "listPods", nil},
		}},
		"a refusal of long ago is forgotten": {notes: []note{{6 * time.Minute, "createPod", arrears}}},
		"throttled a moment ago":             {[]note{{time.Second, "createPod", busy}}, []string{"CloudThrottled"}},
		"throttled two minutes ago":          {notes: []note{{2 * time.Minute, "createPod", busy}}},
		"one error is nothing":               {notes: []note{{time.Second, "getPod", broken}}},
		"nothing but errors for a while":     {[]note{{time.Minute, "getPod", broken}, {time.Second, "listPods", broken}}, []string{"CloudUnavailable"}},
		"an answer in between, if only that there is none": {
			notes: []note{{time.Minute, "getPod", broken}, {20 * time.Second, "getPod", missing}, {time.Second, "listPods", broken}},
		},
		"a caller that has gone says nothing of the cloud": {[]note{{time.Minute, "getPod", broken}, {time.Second, "getPod", context.Canceled}}, []string{"CloudUnavailable"}},
		"an error of others": {notes: []note{{time.Minute, "getPod", errors.New("what")}}},
	} {
		t.Run(name, func(t *testing.T) {
			end := time.Unix(1e9, 0)
			now := end
			tracker := NewTracker(func() time.Time { return now })
			for _, n := range test.notes {
				now = end.Add(-n.ago)
				tracker.Note(n.operation, n.err)
			}
			now = end
			var got []string
			for _, c := range tracker.conditions() {
				assert.NotEmpty(t, c.reason)
				assert.NotEmpty(t, c.message)
				if c.holds {
					got = append(got, string(c.kind))
				}
			}
			assert.Equal(t, test.want, got)
		})
	}
}
