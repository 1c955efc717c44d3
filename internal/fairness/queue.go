// Package fairness shares a resource among the namespaces of a cluster: who asks for much waits behind those who ask
// for little. Namespaces take turns, as the flows of API Priority and Fairness do. A namespace stands for a tenant,
// because only administrators create namespaces.
//
// It knows no objects and no requests.
package fairness

import "slices"

// Queue is a first-in, first-out queue for each namespace. The namespaces take turns. The zero value is empty and can
// be used. It is not safe for concurrent use.
type Queue[T comparable] struct {
	items map[string][]T
	// turns holds each namespace that has items once, the next first.
	turns []string
	len   int
}

// Push adds an item to the end of its namespace's queue. A namespace without items gets its turn after all others.
func (q *Queue[T]) Push(namespace string, item T) {
	if q.items == nil {
		q.items = map[string][]T{}
	}
	if len(q.items[namespace]) == 0 {
		q.turns = append(q.turns, namespace)
	}
	q.items[namespace] = append(q.items[namespace], item)
	q.len++
}

// Pop removes the first item of the next namespace for which may returns true. It returns false if there is none.
func (q *Queue[T]) Pop(may func(namespace string) bool) (item T, ok bool) {
	turn := slices.IndexFunc(q.turns, may)
	if turn < 0 {
		return item, false
	}
	namespace := q.turns[turn]
	item = q.items[namespace][0]
	q.turns = slices.Delete(q.turns, turn, turn+1)
	if q.set(namespace, slices.Delete(q.items[namespace], 0, 1)) {
		q.turns = append(q.turns, namespace)
	}
	return item, true
}

// Remove removes an item that no longer waits. It does nothing if the item is not in the queue.
func (q *Queue[T]) Remove(namespace string, item T) {
	at := slices.Index(q.items[namespace], item)
	if at < 0 {
		return
	}
	if !q.set(namespace, slices.Delete(q.items[namespace], at, at+1)) {
		turn := slices.Index(q.turns, namespace)
		q.turns = slices.Delete(q.turns, turn, turn+1)
	}
}

// set replaces the items of a namespace by one less. It reports whether any are left.
func (q *Queue[T]) set(namespace string, items []T) bool {
	q.len--
	if len(items) == 0 {
		delete(q.items, namespace)
		return false
	}
	q.items[namespace] = items
	return true
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return q.len }

// Namespaces returns the number of namespaces that have items.
func (q *Queue[T]) Namespaces() int { return len(q.turns) }
