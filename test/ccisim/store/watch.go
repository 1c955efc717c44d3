package store

import "github.com/spillway-k8s/spillway/test/ccisim/objects"

// cut ends the watches that were started before it.
type cut struct {
	// done is closed by CutWatches, which sets abrupt before.
	done   chan struct{}
	abrupt bool
}

func newCut() *cut { return &cut{done: make(chan struct{})} }

// CutWatches ends all open watches. Abrupt asks for closed connections, instead of responses that end properly.
func (s *Store) CutWatches(abrupt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut.abrupt = abrupt
	close(s.cut.done)
	s.cut = newCut()
}

// Watch is an open watch of a resource. Only one goroutine may use it.
type Watch struct {
	store *Store
	res   *objects.Resource
	cut   *cut
	// cursor is a version up to which all changes have been returned.
	cursor uint64
}

// Watch starts a watch of the changes after a version.
func (v View) Watch(res *objects.Resource, version uint64) *Watch {
	return &Watch{store: v.s, res: res, cut: v.s.cut, cursor: version}
}

// Cursor returns the version up to which Next has returned all changes.
func (w *Watch) Cursor() uint64 { return w.cursor }

// Next returns the changes after the cursor, moves the cursor behind them, and returns a channel that is closed at the
// next change. It returns false if some of the changes were dropped: oldest is then the oldest version that works.
func (w *Watch) Next() (changes []Change, changed <-chan struct{}, oldest uint64, ok bool) {
	w.store.View(func(v View) {
		t := v.s.tables[w.res]
		if changes, ok = t.since(w.cursor); ok {
			// All changes up to the store's version are in changes, so the next call starts there.
			w.cursor = max(w.cursor, v.Version())
		}
		changed, oldest = t.changed, t.compacted
	})
	return changes, changed, oldest, ok
}

// Cut is closed when CutWatches ends the watch.
func (w *Watch) Cut() <-chan struct{} { return w.cut.done }

// CutIsAbrupt reports whether the connection must be closed. It may be called after Cut is closed.
func (w *Watch) CutIsAbrupt() bool { return w.cut.abrupt }
