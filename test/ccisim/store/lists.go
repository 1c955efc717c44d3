package store

import "github.com/spillway-k8s/spillway/test/ccisim/objects"

// maxSavedLists is how many lists may be read in pages at a time before the oldest expires.
const maxSavedLists = 64

// List is a list at one moment.
type List struct {
	Version uint64
	Entries []*Entry
}

// savedLists are the lists that are being read in pages: later pages come from the same moment as the first.
type savedLists struct {
	last  int
	byID  map[int]*List
	order []int
}

func newSavedLists() *savedLists { return &savedLists{byID: map[int]*List{}} }

func (l *savedLists) save(list *List) int {
	l.last++
	l.byID[l.last] = list
	l.order = append(l.order, l.last)
	if len(l.order) > maxSavedLists {
		delete(l.byID, l.order[0])
		l.order = l.order[1:]
	}
	return l.last
}

// drop makes all saved lists expire.
func (l *savedLists) drop() { l.byID, l.order = map[int]*List{}, nil }

// List returns the objects of a namespace, or of all namespaces if it is empty, that match.
func (v View) List(res *objects.Resource, namespace string, matches func(objects.Object) bool) *List {
	out := &List{Version: v.Version()}
	for _, e := range v.Sorted(res, namespace) {
		if matches(e.Object) {
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}

// SavedList returns the saved list with the ID, or nil if it has expired.
func (v View) SavedList(id int) *List { return v.s.lists.byID[id] }

// SaveList saves a list for later pages, and returns its ID.
func (tx Tx) SaveList(list *List) int { return tx.s.lists.save(list) }
