package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// store is what a reflector fills. It keeps a short form of each object.
type store[T any] struct {
	state *State
	// short returns the short form of an object, or false if it is an object of another type.
	short func(obj any) (T, bool)
	name  func(T) types.NamespacedName
	// set and remove change the State under its lock, and return the Services that are affected.
	set    func(T) []types.NamespacedName
	remove func(types.NamespacedName) []types.NamespacedName
	// names are those of the objects that are kept.
	names iter.Seq[types.NamespacedName]
	// hasList is set by the first list.
	hasList *bool
}

var _ cache.TransformingStore = &store[*Service]{}

// Transformer implements cache.TransformingStore: a stream that lists keeps the short form from the first object on.
func (s *store[T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return s.shorten(obj) }
}

func (s *store[T]) shorten(obj any) (T, error) {
	if short, ok := obj.(T); ok {
		return short, nil
	}
	short, ok := s.short(obj)
	if !ok {
		return short, fmt.Errorf("the stream has an object of type %T, which does not belong there", obj)
	}
	return short, nil
}

// update runs edit under the lock of the State, and then reports the Services that it has affected, each once.
func (s *store[T]) update(edit func() []types.NamespacedName) {
	s.state.mu.Lock()
	affected := map[types.NamespacedName]bool{}
	for _, name := range edit() {
		affected[name] = true
	}
	s.state.mu.Unlock()
	for name := range affected {
		s.state.config.Changed(name)
	}
}

// Add implements cache.ReflectorStore.
func (s *store[T]) Add(obj any) error {
	short, err := s.shorten(obj)
	if err != nil {
		return err
	}
	s.update(func() []types.NamespacedName { return s.set(short) })
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[T]) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store[T]) Delete(obj any) error {
	short, err := s.shorten(obj)
	if err != nil {
		return err
	}
	s.update(func() []types.NamespacedName { return s.remove(s.name(short)) })
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store[T]) Replace(list []any, _ string) error {
	listed := make(map[types.NamespacedName]T, len(list))
	for _, obj := range list {
		short, err := s.shorten(obj)
		if err != nil {
			return err
		}
		listed[s.name(short)] = short
	}
	s.update(func() (affected []types.NamespacedName) {
		for _, name := range slices.Collect(s.names) {
			if _, ok := listed[name]; !ok {
				affected = append(affected, s.remove(name)...)
			}
		}
		for short := range maps.Values(listed) {
			affected = append(affected, s.set(short)...)
		}
		if *s.hasList = true; s.state.hasServices && s.state.hasSlices {
			s.state.allListed()
		}
		return affected
	})
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *store[T]) Resync() error { return nil }
