package ccisim

import (
	"time"
)

const (
	// idle is how long Run sleeps when nothing is due; it is woken when that changes.
	idle = time.Hour
	// batch is how many objects are moved on under one lock, so that requests get in between.
	batch = 64
)

// step is what became of an object whose time had come.
type step struct {
	// next replaces the object when it is set.
	next object
	// gone removes it, in the state of next when that is set.
	gone bool
	// at is when to look again; zero waits for something outside.
	at time.Time
}

// advanceDue moves on everything that is due, and returns how long nothing will be.
func (s *Sim) advanceDue() time.Duration {
	for {
		s.mu.Lock()
		more := true
		for i := 0; i < batch && more; i++ {
			var due target
			if due, more = s.life.due(s.now()); more {
				s.advance(due)
			}
		}
		next := s.life.next()
		s.mu.Unlock()
		switch {
		case more:
		case next.IsZero():
			return idle
		default:
			return max(next.Sub(s.now()), 0)
		}
	}
}

// advance moves one object on. Holds mu.
func (s *Sim) advance(t target) {
	obj := s.store.get(t.res, t.key)
	if obj == nil || !t.res.lives {
		return
	}
	st := s.strategies[t.res].advance(s, obj)
	switch {
	case st.gone:
		if st.next != nil {
			obj = st.next
		} else {
			obj = obj.copyObject()
		}
		s.remove(t.res, obj)
		return
	case st.next != nil:
		s.put(t.res, st.next)
	}
	s.life.set(t, st.at)
}

// put stores an object of the simulator's own making. Holds mu.
func (s *Sim) put(res *resource, obj object) {
	if _, err := s.store.put(res, obj); err != nil {
		s.cfg.Logger.Error("Storing an object failed", "resource", res.plural, "namespace", obj.GetNamespace(), "name", obj.GetName(), "error", err)
	}
}

// remove takes an object out for good. Holds mu.
func (s *Sim) remove(res *resource, obj object) {
	if err := s.store.remove(res, obj); err != nil {
		s.cfg.Logger.Error("Removing an object failed", "resource", res.plural, "namespace", obj.GetNamespace(), "name", obj.GetName(), "error", err)
	}
	s.life.set(target{res, keyOf(obj)}, time.Time{})
	if pod, ok := obj.(*Pod); ok {
		s.forgetPod(pod)
	}
	// What may have waited for the last object of the kind to go.
	if res.namespaced && s.store.tables[res].perNamespace[obj.GetNamespace()] == 0 {
		s.poke(namespaces, key{name: obj.GetNamespace()})
		if res == pods {
			s.pokeNetworks(obj.GetNamespace())
		}
	}
}

// poke has an object looked at now. Holds mu.
func (s *Sim) poke(res *resource, k key) { s.lookAt(res, k, s.now()) }

// lookAt has an object looked at at a time. Holds mu.
func (s *Sim) lookAt(res *resource, k key, at time.Time) {
	if !res.lives || s.store.get(res, k) == nil {
		return
	}
	if s.life.set(target{res, k}, at) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// pokeHeld has all Pods looked at that wait for something outside of them. Holds mu.
func (s *Sim) pokeHeld() {
	for k := range s.held {
		s.poke(pods, k)
	}
}

func (s *Sim) pokeNetworks(namespace string) {
	for k := range s.store.tables[networks].items {
		if k.namespace == namespace {
			s.poke(networks, k)
		}
	}
}
