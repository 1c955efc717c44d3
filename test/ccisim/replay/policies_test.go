package replay

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// Package test/doctor tries transcripts of whole runs.
func TestPolicies(t *testing.T) {
	missing := json.RawMessage(`{"reason":"NotFound","message":"the server could not find the requested resource"}`)
	wrongUID := json.RawMessage(`{"preconditions":{"uid":"` + transcript.NoUID + `"}}`)
	for name, test := range map[string]struct {
		exchanges []transcript.Exchange
		want      func(*faults.Policies)
	}{
		"nothing is known": {nil, func(*faults.Policies) {}},
		"events are answered like a resource that does not exist": {[]transcript.Exchange{
			{Service: "cci", Path: "/namespaces/n/events", Status: 404, Answer: missing},
			{Service: "cci", Path: "/namespaces/n/spillwaydoctors", Status: 404, Answer: missing},
		}, func(p *faults.Policies) { p.Events = faults.EventsAbsent }},
		"events are answered like a namespace that does not exist": {[]transcript.Exchange{
			{Service: "cci", Path: "/namespaces/n/events", Status: 404, Answer: json.RawMessage(`{"message":"no n"}`)},
			{Service: "cci", Path: "/namespaces/n/spillwaydoctors", Status: 404, Answer: missing},
		}, func(*faults.Policies) {}},
		"a watch is answered with 410": {[]transcript.Exchange{
			{Service: "cci", Path: "/pods", Query: url.Values{"watch": {"true"}}, Status: 410},
		}, func(p *faults.Policies) { p.GoneAsStatus = true }},
		"a wrong UID is refused": {[]transcript.Exchange{
			{Step: "delete", Service: "cci", Method: "DELETE", Status: 200, Request: json.RawMessage(`{}`)},
			{Step: "delete", Service: "cci", Method: "DELETE", Status: 409, Request: wrongUID},
		}, func(*faults.Policies) {}},
		"a wrong UID deletes": {[]transcript.Exchange{
			{Step: "delete", Service: "cci", Method: "DELETE", Status: 202, Request: wrongUID},
		}, func(p *faults.Policies) { p.IgnorePreconditions = true }},
		"a deletion with a wrong UID gets no answer": {[]transcript.Exchange{
			{Step: "delete", Service: "cci", Method: "DELETE", Request: wrongUID},
		}, func(*faults.Policies) {}},
		"bodies are of other kinds": {[]transcript.Exchange{
			{Step: "pod", Method: "POST", Service: "cci", Request: json.RawMessage(`[{"spec":1}]`)},
			{Step: "list", Service: "cci", Query: url.Values{"limit": {"1"}}, Answer: json.RawMessage(`{"items":{"a":1}}`)},
			{Step: "missing-objects", Service: "cci", Status: 404, Answer: json.RawMessage(`"x"`)},
			{Step: "delete", Service: "cci", Method: "DELETE", Status: 200, Request: json.RawMessage(`7`)},
		}, func(*faults.Policies) {}},
	} {
		t.Run(name, func(t *testing.T) {
			want := faults.Policies{}.WithDefaults()
			test.want(&want)
			assert.Equal(t, want, Policies(test.exchanges))
		})
	}
}

func TestTheChecksThatATranscriptLacksAreNamed(t *testing.T) {
	assert.Equal(t, []string{"missing-objects", "list", "watch-expired", "exec", "exec-signed", "delete"},
		Missing([]transcript.Exchange{{Step: "volumes"}, {Step: "snapshots"}, {Step: "events"}, {Step: "other"}}))
}
