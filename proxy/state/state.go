// Package state holds the Services and endpoints that the Pod may see. It keeps a few hundred bytes for each, and not
// the objects. Two reflectors of client-go fill it, and when their streams are cut it stays as it is.
package state

import (
	"errors"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/endpoints"
)

// Config is what a State needs.
type Config struct {
	// Place is where the Pod runs.
	Place endpoints.Place
	// APIServerPort is the port of the Service kubernetes of namespace default in the Pod. 0 is that of the Service.
	APIServerPort uint16
	// Changed is called after each change with the name of the Service, from the goroutines of the reflectors.
	Changed func(types.NamespacedName)
}

// State is what is known now.
type State struct {
	config Config

	mu sync.RWMutex
	// services by namespace and name.
	services map[string]map[string]*Service
	// slices are the EndpointSlices and the name of the Service of each.
	slices map[types.NamespacedName]ownedSlice
	// hasServices and hasSlices are set by the first list of each. The later one calls allListed, which closes listed.
	hasServices, hasSlices bool
	listed                 chan struct{}
	allListed              func()
}

// ownedSlice is an EndpointSlice and the name of its Service in the same namespace.
type ownedSlice struct {
	service string
	slice   *endpoints.Slice
}

// New returns a State without Services.
func New(config Config) *State {
	listed := make(chan struct{})
	return &State{
		config:   config,
		services: map[string]map[string]*Service{}, slices: map[types.NamespacedName]ownedSlice{},
		listed: listed, allListed: sync.OnceFunc(func() { close(listed) }),
	}
}

// Get returns a Service, or nil if it does not exist.
func (s *State) Get(namespace, name string) *Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if found := s.services[namespace][name]; found != nil && found.exists {
		return found
	}
	return nil
}

// HasNamespace reports whether a Service of the namespace is known.
func (s *State) HasNamespace(namespace string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.services[namespace]) > 0
}

// Listed returns a channel that is closed once Services and EndpointSlices have been listed.
func (s *State) Listed() <-chan struct{} { return s.listed }

// Missing returns what has not been listed yet, or nil once all is there.
func (s *State) Missing() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case !s.hasServices:
		return errors.New("the first list of Services has not arrived")
	case !s.hasSlices:
		return errors.New("the first list of EndpointSlices has not arrived")
	}
	return nil
}

// change replaces a Service by one that edit has changed. The lock must be held.
func (s *State) change(name types.NamespacedName, edit func(*Service)) {
	next := Service{Name: name}
	if old := s.services[name.Namespace][name.Name]; old != nil {
		next = *old
	}
	edit(&next)
	switch {
	case next.exists || len(next.slices) > 0:
		if s.services[name.Namespace] == nil {
			s.services[name.Namespace] = map[string]*Service{}
		}
		s.services[name.Namespace][name.Name] = &next
	case len(s.services[name.Namespace]) > 1:
		delete(s.services[name.Namespace], name.Name)
	default:
		delete(s.services, name.Namespace)
	}
}

// serviceStore is the State as the store of Services.
func (s *State) serviceStore() *store[*Service] {
	return &store[*Service]{
		state: s,
		short: func(obj any) (*Service, bool) {
			full, ok := obj.(*corev1.Service)
			if !ok {
				return nil, false
			}
			return s.newService(full), true
		},
		name:   func(one *Service) types.NamespacedName { return one.Name },
		set:    s.setService,
		remove: s.removeService,
		names: func(yield func(types.NamespacedName) bool) {
			for _, byName := range s.services {
				for _, one := range byName {
					if one.exists && !yield(one.Name) {
						return
					}
				}
			}
		},
		hasList: &s.hasServices,
	}
}

// setService adds or replaces a Service. Its slices stay.
func (s *State) setService(to *Service) []types.NamespacedName {
	s.change(to.Name, func(next *Service) {
		kept := next.slices
		*next = *to
		next.slices = kept
	})
	return []types.NamespacedName{to.Name}
}

func (s *State) removeService(name types.NamespacedName) []types.NamespacedName {
	s.change(name, func(next *Service) { *next = Service{Name: name, slices: next.slices} })
	return []types.NamespacedName{name}
}

// namedSlice is what is kept of an EndpointSlice, and its name.
type namedSlice struct {
	name types.NamespacedName
	ownedSlice
}

// sliceStore is the State as the store of EndpointSlices.
func (s *State) sliceStore() *store[*namedSlice] {
	return &store[*namedSlice]{
		state: s,
		short: func(obj any) (*namedSlice, bool) {
			full, ok := obj.(*discoveryv1.EndpointSlice)
			if !ok {
				return nil, false
			}
			return &namedSlice{
				name: types.NamespacedName{Namespace: full.Namespace, Name: full.Name},
				ownedSlice: ownedSlice{
					service: full.Labels[discoveryv1.LabelServiceName], slice: endpoints.NewSlice(full, s.config.Place),
				},
			}, true
		},
		name:    func(one *namedSlice) types.NamespacedName { return one.name },
		set:     s.setSlice,
		remove:  s.removeSlice,
		names:   maps.Keys(s.slices),
		hasList: &s.hasSlices,
	}
}

// setSlice adds or replaces a slice. It affects two Services if the label of the slice has changed.
func (s *State) setSlice(to *namedSlice) []types.NamespacedName {
	affected := s.removeSlice(to.name)
	if to.service == "" {
		return affected
	}
	s.slices[to.name] = to.ownedSlice
	service := types.NamespacedName{Namespace: to.name.Namespace, Name: to.service}
	s.change(service, func(next *Service) { next.slices = append(slices.Clone(next.slices), to.slice) })
	return append(affected, service)
}

func (s *State) removeSlice(name types.NamespacedName) []types.NamespacedName {
	old, ok := s.slices[name]
	if !ok {
		return nil
	}
	delete(s.slices, name)
	service := types.NamespacedName{Namespace: name.Namespace, Name: old.service}
	s.change(service, func(next *Service) {
		i := slices.Index(next.slices, old.slice)
		next.slices = slices.Delete(slices.Clone(next.slices), i, i+1)
	})
	return []types.NamespacedName{service}
}
