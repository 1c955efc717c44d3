package check

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

const (
	local = "local-0"
	cloud = "virtual-0"
)

// history is a record for tests. Unless they are changed, all Pods belong to one ReplicaSet with a quota of 1.
type history struct {
	entries  []record.Entry
	at       time.Time
	version  uint64
	requests int64
	pods     map[string]record.Pod
}

func newHistory() *history {
	h := &history{at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), pods: map[string]record.Pod{}}
	h.add(record.Entry{Node: &record.Node{Name: local}})
	h.add(record.Entry{Node: &record.Node{Name: cloud, Virtual: true}})
	return h.round(record.Begun)
}

func (h *history) add(entry record.Entry) *history {
	h.at = h.at.Add(time.Millisecond)
	entry.At = h.at
	h.entries = append(h.entries, entry)
	return h
}

func (h *history) round(phase record.Phase) *history {
	return h.add(record.Entry{Round: &record.Round{Namespace: "round", Phase: phase, Histories: 1}})
}

func (h *history) quiet() *history { return h.round(record.Quiet) }

func (h *history) after(d time.Duration) *history {
	h.at = h.at.Add(d)
	return h
}

func (h *history) fault(kind string, ended bool) *history {
	return h.add(record.Entry{Fault: &record.Fault{Kind: kind, Number: 1, Ended: ended}})
}

func (h *history) turn(off bool) *history {
	return h.add(record.Entry{Switch: &record.Switch{Off: off}})
}

// pod changes or creates a Pod.
func (h *history) pod(name string, changes ...func(*record.Pod)) *history {
	pod, ok := h.pods[name]
	if !ok {
		pod = record.Pod{
			Namespace: "round", Name: name, UID: types.UID("uid-" + name), Owner: "rs", OwnerName: "rs", Quota: new(1),
			Burst: string(policy.ModeLocalPrefer), Marked: true, Scheduler: "default-scheduler",
		}
	}
	h.version++
	pod.Version = h.version
	for _, change := range changes {
		change(&pod)
	}
	h.pods[name] = pod
	return h.add(record.Entry{Pod: &pod})
}

func slot(p *record.Pod)        { p.Slot = true }
func cloudSlot(p *record.Pod)   { p.CloudSlot = true }
func small(p *record.Pod)       { p.Size = sizes.Flavor{MilliCPU: 250, MilliGiB: 500} }
func listed(p *record.Pod)      { p.Listed = true }
func gone(p *record.Pod)        { p.Gone = true }
func terminating(p *record.Pod) { p.Terminating = true }
func unmanaged(p *record.Pod)   { p.Quota, p.Burst, p.Marked = nil, "", false }
func noQuota(p *record.Pod)     { p.Quota = nil }
func unmarked(p *record.Pod)    { p.Marked = false }
func byTheSwitch(p *record.Pod) { p.Burst = "" }
func preempt(p *record.Pod)     { p.Disrupted = preempted }
func on(node string) func(*record.Pod) {
	return func(p *record.Pod) { p.Node = node }
}
func owner(uid types.UID) func(*record.Pod) {
	return func(p *record.Pod) { p.Owner = uid }
}
func quota(n int) func(*record.Pod) {
	return func(p *record.Pod) { p.Quota = &n }
}
func has(settings ...string) func(*record.Pod) {
	return func(p *record.Pod) {
		p.Quota, p.Settings = nil, map[string]string{}
		for i := 0; i < len(settings); i += 2 {
			p.Settings[settings[i]] = settings[i+1]
		}
	}
}
func app(name string) func(*record.Pod) { return func(p *record.Pod) { p.App = name } }
func plain(p *record.Pod)               { p.Quota, p.Settings, p.Burst, p.Marked = nil, nil, "", false }
func ready(p *record.Pod)               { p.Ready = true }
func moving(p *record.Pod)              { p.Owner, p.OwnerName, p.Moving = "", "", "rs" }
func unmoved(p *record.Pod)             { p.Owner, p.OwnerName, p.Moving = "rs", "rs", "" }
func evicted(p *record.Pod)             { p.Disrupted, p.Terminating = evictedByAPI, true }
func needs(cpu int64) func(*record.Pod) {
	return func(p *record.Pod) { p.MilliCPU, p.Room = cpu, "room" }
}
func because(reason, message string) func(*record.Pod) {
	return func(p *record.Pod) { p.Reason, p.Message = reason, message }
}
func high(p *record.Pod) { p.Priority = 1000 }
func nominated(node string) func(*record.Pod) {
	return func(p *record.Pod) { p.Nominated = node }
}

// reply is an answer of the extender. The zero value means that the Pod has to wait for a slot.
type reply struct {
	local, virtual int
	err            string
	took           time.Duration
	// noLocalNode: the request contains no local node.
	noLocalNode bool
	// reason is that of a refusal, by default that of a quota.
	reason policy.Reason
}

var (
	toLocal = reply{local: 1}
	toCloud = reply{virtual: 1}
	toWait  = reply{}
	limited = reply{reason: policy.ReasonCloudLimits, noLocalNode: true}
	// No local node fits.
	toBurst      = reply{virtual: 1, noLocalNode: true}
	toFloor      = reply{reason: policy.ReasonLocalMin, noLocalNode: true}
	toBurstAfter = reply{reason: policy.ReasonBurstAfter, noLocalNode: true}
	toShare      = reply{reason: policy.ReasonCloudMax, noLocalNode: true}
)

// filter sends a request about a Pod in its current state, and gets an answer.
func (h *history) filter(name string, r reply) *history { return h.send("filter", name, r) }

// preempting sends a request about a Pod that was just refused. The answer allows preemption on a local node.
func (h *history) preempting(name string) *history { return h.send("preempt", name, toLocal) }

func (h *history) send(verb, name string, r reply) *history {
	return h.call(verb, name, r, func(*history) {})
}

// call sends a request and gets an answer, after something else has happened.
func (h *history) call(verb, name string, r reply, meanwhile func(*history)) *history {
	h.requests++
	id, pod := h.requests, h.pods[name]
	offered := 1
	if r.noLocalNode {
		offered = 0
	}
	request := &record.Request{ID: id, Verb: verb, UID: pod.UID, Version: pod.Version, Local: offered, Virtual: 1}
	h.add(record.Entry{Request: request})
	h.after(r.took)
	meanwhile(h)
	response := &record.Response{ID: id, Verb: verb, UID: pod.UID, Local: r.local, Virtual: r.virtual, Error: r.err}
	if r.local+r.virtual == 0 && r.err == "" {
		response.Refusal = "Spillway " + string(cmp.Or(r.reason, policy.ReasonLocalQuota)) + ": text"
	}
	return h.add(record.Entry{Response: response})
}

// times repeats a part.
func (h *history) times(n int, part func(*history)) *history {
	for range n {
		part(h)
	}
	return h
}

// within begins a round in a namespace with limits.
func within(limits string) *history {
	h := newHistory()
	return h.add(record.Entry{Round: &record.Round{Namespace: "round", Phase: record.Begun, Limits: limits}})
}

// counted creates a Pod without a quota, gives it a cloud slot and binds it to a virtual node.
func (h *history) counted(name string, changes ...func(*record.Pod)) *history {
	changes = append(changes, noQuota, small)
	return h.pod(name, changes...).filter(name, toCloud).pod(name, cloudSlot).pod(name, on(cloud))
}

// bursts creates a Pod for which no local node fits, and binds it to a virtual node with a cloud slot.
func (h *history) bursts(name string, changes ...func(*record.Pod)) *history {
	return h.pod(name, changes...).filter(name, toBurst).pod(name, cloudSlot).pod(name, on(cloud))
}

// stays creates a Pod that is refused.
func (h *history) stays(name string, r reply, changes ...func(*record.Pod)) *history {
	changes = append(changes, because("Unschedulable", "text"))
	return h.pod(name, changes...).filter(name, r)
}

// born sets the time of creation to now.
func (h *history) born(p *record.Pod) { p.Created = h.at }

// wrote records what the harness has written to a workload.
func (h *history) wrote(w record.Workload) *history {
	w.Namespace = "round"
	return h.add(record.Entry{Workload: &w})
}

// ends records that the harness ends a Pod.
func (h *history) ends(name string) *history {
	return h.add(record.Entry{Action: &record.Action{Workload: "round/web", Do: "evict", On: name}})
}

// settled begins a round in a namespace with settings.
func settled(settings map[string]string) *history {
	h := newHistory()
	return h.add(record.Entry{Round: &record.Round{Namespace: "round", Phase: record.Begun, Settings: settings}})
}

// onLocal creates a Pod, gives it a slot and binds it to a local node.
func (h *history) onLocal(name string, changes ...func(*record.Pod)) *history {
	return h.pod(name, changes...).filter(name, toLocal).pod(name, slot).pod(name, on(local))
}

// inCloud creates a Pod and binds it to a virtual node.
func (h *history) inCloud(name string, changes ...func(*record.Pod)) *history {
	return h.pod(name, changes...).filter(name, toCloud).pod(name, on(cloud))
}

// broken returns the promises that a checker finds broken, in order, without repetitions.
func (h *history) broken(t *testing.T) []string {
	t.Helper()
	checker, err := New(DefaultLimits())
	require.NoError(t, err)
	for _, entry := range h.entries {
		checker.Observe(entry)
	}
	_, violations := checker.Finish()
	promises := []string{}
	for _, violation := range violations {
		t.Log(violation)
		require.NotEmpty(t, violation.Slice(h.entries), "the part of the record that shows it")
		if len(promises) == 0 || promises[len(promises)-1] != violation.Promise {
			promises = append(promises, violation.Promise)
		}
	}
	return promises
}
