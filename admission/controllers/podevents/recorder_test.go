package podevents

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/policy"
)

func pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1", ResourceVersion: "7"}}
}

var switchOff = Event{Type: corev1.EventTypeNormal, Reason: policy.ReasonSwitchOff, Message: "the switch is off"}

// clock is a clock that a test sets.
type clock struct{ time time.Time }

func (c *clock) now() time.Time { return c.time }

func recorded(t *testing.T, client *fake.Clientset) []corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	return list.Items
}

func TestAnEventIsCreatedOnceAndRefreshed(t *testing.T) {
	started := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	client, clock := fake.NewClientset(), &clock{started}
	recorder := NewRecorder(client, clock.now)
	record := func(r *Recorder) (created bool) {
		created, err := r.Record(t.Context(), pod(), switchOff)
		require.NoError(t, err)
		return created
	}
	lastTimestamp := func() time.Time {
		events := recorded(t, client)
		require.Len(t, events, 1)
		return events[0].LastTimestamp.UTC()
	}

	assert.True(t, record(recorder))
	event := recorded(t, client)[0]
	assert.Equal(t, "SwitchOff", event.Reason)
	assert.Equal(t, "the switch is off", event.Message)
	assert.Equal(t, corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web", UID: "u1", ResourceVersion: "7",
	}, event.InvolvedObject)
	assert.Equal(t, "spillway-admission", event.Source.Component)

	clock.time = started.Add(refreshInterval - time.Second)
	assert.False(t, record(recorder))
	assert.Equal(t, started, lastTimestamp(), "a fresh Event is not written again")

	clock.time = started.Add(refreshInterval)
	assert.False(t, record(recorder))
	assert.Equal(t, clock.time, lastTimestamp(), "a refresh keeps the Event from expiring")

	clock.time = clock.time.Add(time.Minute)
	assert.False(t, record(NewRecorder(client, clock.now)), "another process finds the Event by its name")
	assert.Equal(t, clock.time, lastTimestamp())

	recorder.Forget("u1")
	clock.time = clock.time.Add(time.Minute)
	assert.False(t, record(recorder))
	assert.Equal(t, clock.time, lastTimestamp(), "after Forget, the recorder reads the API server again")
}

func TestDifferentEventsAreCreatedSeparately(t *testing.T) {
	client := fake.NewClientset()
	recorder := NewRecorder(client, time.Now)
	for _, event := range []Event{switchOff, {switchOff.Type, switchOff.Reason, "another message"}} {
		created, err := recorder.Record(t.Context(), pod(), event)
		require.NoError(t, err)
		assert.True(t, created)
	}
	assert.Len(t, recorded(t, client), 2)
}

func TestRecordReturnsErrorsUnlessTheNamespaceIsTerminating(t *testing.T) {
	terminating := apierrors.NewForbidden(corev1.Resource("events"), "web", errors.New("namespace is terminating"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"terminating": {terminating, ""},
		"any other error": {
			errors.New("connection refused"), "recording event SwitchOff of Pod shop/web: connection refused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, test.err
			})
			created, err := NewRecorder(client, time.Now).Record(t.Context(), pod(), switchOff)
			assert.False(t, created)
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.want)
		})
	}
}

func TestEventNamesAreValidAndUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"web", "web-0", strings.Repeat("a", 253), strings.Repeat("a.", 120) + "b"} {
		for _, event := range []Event{
			{"Normal", "SwitchOff", "m"}, {"Normal", "SwitchOff", "n"}, {"Normal", "LabelOff", "m"},
		} {
			p := pod()
			p.Name = name
			got := eventName(p, event)
			assert.Empty(t, validation.IsDNS1123Subdomain(got), got)
			assert.False(t, seen[got], "different Events have different names")
			seen[got] = true
			assert.Equal(t, got, eventName(p, event), "the same Event has the same name")
		}
	}
}

func TestLongMessagesAreCutBetweenCharacters(t *testing.T) {
	got := compose("n", pod(), Event{"Normal", "HostPath", strings.Repeat("云", 1000)}, time.Unix(0, 0))
	assert.LessOrEqual(t, len(got.Message), maxMessage)
	assert.True(t, strings.HasSuffix(got.Message, "云…"), got.Message[len(got.Message)-20:])
}

// An attack: a tenant changes a malformed key of a Pod a thousand times. Each value is another message.
func TestAPodWhoseEventsChangeWithoutEndTakesLittleMemory(t *testing.T) {
	clock := &clock{time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	recorder := NewRecorder(fake.NewClientset(), clock.now)
	message := func(i int) Event {
		return Event{Type: corev1.EventTypeWarning, Reason: policy.ReasonInvalid,
			Message: "invalid value " + strconv.Itoa(i)}
	}
	for i := range 1000 {
		clock.time = clock.time.Add(time.Second)
		created, err := recorder.Record(t.Context(), pod(), message(i))
		require.NoError(t, err)
		require.True(t, created)
	}
	assert.LessOrEqual(t, len(recorder.recorded["u1"]), maxRemembered)
	before := len(recorder.client.(*fake.Clientset).Actions())
	_, err := recorder.Record(t.Context(), pod(), message(999))
	require.NoError(t, err)
	assert.Len(t, recorder.client.(*fake.Clientset).Actions(), before, "the newest is remembered")
}
