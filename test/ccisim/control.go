package ccisim

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Policies returns the present answers to the undocumented questions.
func (s *Sim) Policies() Policies { return *s.policies.Load() }

// SetPolicies replaces them; unset ones get their default.
func (s *Sim) SetPolicies(policies Policies) error {
	if err := policies.validate(); err != nil {
		return err
	}
	setDefault(&policies.Fields, DropFields)
	setDefault(&policies.Events, EventsListed)
	for _, g := range s.generations() {
		g.policies.Store(&policies)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appendJournal(journalLine{Op: opPolicies, Policies: &policies})
	return nil
}

// AddFault switches a fault on and returns it with its ID.
func (s *Sim) AddFault(f Fault) (Fault, error) {
	f.ID = ""
	added, err := s.faults.add(f)
	if err != nil {
		return Fault{}, err
	}
	s.faultsChanged()
	return added, nil
}

// RemoveFault switches off the fault with the ID, and reports whether there was one.
func (s *Sim) RemoveFault(id string) bool {
	if id == "" || !s.faults.remove(id) {
		return false
	}
	s.faultsChanged()
	return true
}

// ResetFaults switches all faults off: Pods that waited because of one go on.
func (s *Sim) ResetFaults() {
	s.faults.remove("")
	s.faultsChanged()
}

// Faults returns what is switched on, oldest first.
func (s *Sim) Faults() []Fault { return s.faults.list() }

// faultsChanged has everything looked at that a fault may hold back.
func (s *Sim) faultsChanged() {
	if s.first != nil {
		s.first.faultsChanged()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isFirst {
		s.appendJournal(journalLine{Op: opFaults, Faults: s.faults.list()})
	}
	for _, res := range []*resource{networks, pods} {
		for k := range s.store.tables[res].items {
			s.poke(res, k)
		}
	}
}

// CutWatches ends all watches that are under way: in good order, or, when abrupt, by closing their connections.
func (s *Sim) CutWatches(abrupt bool) {
	if s.first != nil {
		s.first.CutWatches(abrupt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abrupt = abrupt
	close(s.cut)
	s.cut = make(chan struct{})
}

func (s *Sim) cutIsAbrupt() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.abrupt
}

// Compact forgets the history and the lists under way: every older resourceVersion and continue token gets 410.
func (s *Sim) Compact() {
	if s.first != nil {
		s.first.Compact()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The version moves on, so that what the newest change had is too old as well.
	s.store.version++
	for _, t := range s.store.tables {
		t.history, t.compacted = nil, s.store.version
	}
	s.lists.forget()
}

// FinishContainer ends a running container with an exit code, as if its process had ended by itself.
func (s *Sim) FinishContainer(namespace, pod, container string, exitCode int32) error {
	if exitCode < 0 || exitCode > 255 {
		return fmt.Errorf("finishing container %s of %s/%s: exit code %d is not between 0 and 255", container, namespace, pod, exitCode)
	}
	s = s.holding(namespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.store.get(pods, key{namespace, pod}).(*Pod)
	if !ok {
		return fmt.Errorf("finishing container %s of %s/%s: no such pod", container, namespace, pod)
	}
	if err := s.endContainer(found, container, exitCode); err != nil {
		return fmt.Errorf("finishing container %s of %s/%s: %w", container, namespace, pod, err)
	}
	return nil
}

// endContainer ends a running container. Holds mu.
func (s *Sim) endContainer(found *Pod, container string, exitCode int32) error {
	l := &podLife{s: s, pod: found.deepCopy(), now: s.now()}
	status := l.statusOf(container)
	if status == nil || status.State.Running == nil {
		return errors.New("it does not run")
	}
	l.terminate(status, exitCode)
	l.summarize()
	s.put(pods, l.pod)
	s.poke(pods, keyOf(l.pod))
	return nil
}

// AddImageSnapshotPod puts a Pod into a namespace as the service's image snapshot maker does: nobody asked for it, and nobody may touch it.
func (s *Sim) AddImageSnapshotPod(namespace string) (string, error) {
	s = s.holding(namespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.namespacePhase(namespace) != corev1.NamespaceActive {
		return "", fmt.Errorf("adding an image snapshot pod: namespace %s is not active", namespace)
	}
	pod := &Pod{}
	pod.setType(s.apiVersion(pods), pods.kind)
	s.stamp(pod)
	pod.Name, pod.Namespace = "cci-imagesnapshot-"+string(pod.UID), namespace
	pod.Finalizers = []string{podFinalizer}
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers = []corev1.Container{{Name: "snapshot", Image: "cci/image-snapshot:v1"}}
	setPodDefaults(pod)
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(pod)}
	s.put(pods, pod)
	s.poke(pods, keyOf(pod))
	return pod.Name, nil
}
