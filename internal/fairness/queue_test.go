package fairness

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func all(string) bool { return true }

// popAll empties a queue.
func popAll(q *Queue[string]) (items []string) {
	for {
		item, ok := q.Pop(all)
		if !ok {
			return items
		}
		items = append(items, item)
	}
}

func queueOf(items ...string) *Queue[string] {
	q := &Queue[string]{}
	for _, item := range items {
		q.Push(item[:1], item)
	}
	return q
}

func TestNamespacesTakeTurns(t *testing.T) {
	q := queueOf("a1", "a2", "a3", "b1", "c1", "b2")
	assert.Equal(t, 6, q.Len())
	assert.Equal(t, 3, q.Namespaces())
	assert.Equal(t, []string{"a1", "b1", "c1", "a2", "b2", "a3"}, popAll(q))
	assert.Zero(t, q.Len())
	assert.Zero(t, q.Namespaces())
}

func TestOneWhoseTurnIsOverComesAfterTheOthers(t *testing.T) {
	q := queueOf("a1", "b1", "b2")
	first, _ := q.Pop(all)
	q.Push("a", "a2")
	assert.Equal(t, []string{"a1", "b1", "a2", "b2"}, append([]string{first}, popAll(q)...))
}

func TestWhoMayNotIsSkippedAndKeepsItsTurn(t *testing.T) {
	q := queueOf("a1", "a2", "b1")
	item, ok := q.Pop(func(namespace string) bool { return namespace == "b" })
	assert.Equal(t, "b1", item)
	assert.True(t, ok)
	_, ok = q.Pop(func(string) bool { return false })
	assert.False(t, ok)
	assert.Equal(t, []string{"a1", "a2"}, popAll(q))
}

func TestRemovedItemsAreGone(t *testing.T) {
	q := queueOf("a1", "a2", "b1", "c1")
	q.Remove("a", "a1")
	q.Remove("b", "b1")
	q.Remove("b", "b1")
	q.Remove("d", "d1")
	assert.Equal(t, 2, q.Len())
	assert.Equal(t, 2, q.Namespaces())
	assert.Equal(t, []string{"a2", "c1"}, popAll(q))
}
