package store

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	testclock "k8s.io/utils/clock/testing"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func config(change ...func(*Config)) Config {
	cfg := Config{
		HistoryLimit: 100, Faults: faults.NewTable(faults.Policies{}), Pods: NewPodHistory(),
		Clock: testclock.NewFakePassiveClock(start), Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

func open(t *testing.T, change ...func(*Config)) *Store {
	t.Helper()
	s, err := Open(config(change...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func pod(name string, labels ...string) *objects.Pod {
	p := &objects.Pod{}
	p.SetType("cci/v2", "Pod")
	p.Namespace, p.Name, p.UID = "ns", name, types.UID("uid-of-"+name)
	p.Labels = map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		p.Labels[labels[i]] = labels[i+1]
	}
	return p
}

func put(t *testing.T, s *Store, obj objects.Object) *Entry {
	t.Helper()
	var e *Entry
	var err error
	s.Update(func(tx Tx) { e, err = tx.Put(objects.Pods, obj) })
	require.NoError(t, err)
	return e
}

func remove(t *testing.T, s *Store, obj objects.Object) {
	t.Helper()
	s.Update(func(tx Tx) { require.NoError(t, tx.Remove(objects.Pods, obj)) })
}

func names(entries []*Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Object.GetName())
	}
	return out
}

func TestObjectsAreStoredUnderNewVersions(t *testing.T) {
	s := open(t)
	first := put(t, s, pod("web"))
	second := put(t, s, pod("web"))
	assert.Equal(t, "1", first.Object.GetResourceVersion())
	assert.Equal(t, "2", second.Object.GetResourceVersion())
	assert.Contains(t, string(second.Raw), `"resourceVersion":"2"`)
	s.View(func(v View) {
		assert.Equal(t, uint64(2), v.Version())
		assert.Same(t, second, v.Entry(objects.Pods, objects.KeyOf(second.Object)))
		assert.Equal(t, "web", v.Pod("ns", "web").Name)
		assert.Nil(t, v.Pod("other", "web"))
		assert.Nil(t, v.Get(objects.Pods, types.NamespacedName{Name: "web"}))
	})
	remove(t, s, pod("web"))
	remove(t, s, pod("never existed"))
	s.View(func(v View) {
		assert.Equal(t, uint64(3), v.Version(), "a removal has a version, and removing nothing has none")
		assert.Nil(t, v.Pod("ns", "web"))
	})
}

func TestLookups(t *testing.T) {
	s := open(t)
	other := pod("a")
	other.Namespace = "other"
	for _, p := range []*objects.Pod{pod("c"), pod("b"), other} {
		put(t, s, p)
	}
	ns := &objects.Namespace{Status: objects.NamespaceStatus{Phase: corev1.NamespaceTerminating}}
	ns.Name = "ns"
	s.Update(func(tx Tx) {
		_, err := tx.Put(objects.Namespaces, ns)
		require.NoError(t, err)
	})
	s.View(func(v View) {
		assert.Equal(t, []string{"b", "c"}, names(v.Sorted(objects.Pods, "ns")))
		assert.Equal(t, []string{"b", "c", "a"}, names(v.Sorted(objects.Pods, "")))
		assert.Equal(t, 2, v.Count(objects.Pods, "ns"))
		assert.Zero(t, v.Count(objects.Networks, "ns"))
		assert.Equal(t, corev1.NamespaceTerminating, v.NamespacePhase("ns"))
		assert.Empty(t, v.NamespacePhase("other"))
		n := 0
		for range v.All(objects.Pods) {
			n++
		}
		assert.Equal(t, 3, n)
	})
}

func TestWatch(t *testing.T) {
	s := open(t)
	put(t, s, pod("before"))
	var w *Watch
	s.View(func(v View) { w = v.Watch(objects.Pods, v.Version()) })
	changes, changed, _, ok := w.Next()
	require.True(t, ok)
	assert.Empty(t, changes)
	select {
	case <-changed:
		assert.Fail(t, "nothing has changed")
	default:
	}

	put(t, s, pod("web", "app", "a"))
	put(t, s, pod("web", "app", "b"))
	remove(t, s, pod("web", "app", "b"))
	<-changed
	changes, _, _, ok = w.Next()
	require.True(t, ok)
	require.Len(t, changes, 3)
	assert.Equal(t, []watch.EventType{watch.Added, watch.Modified, watch.Deleted},
		[]watch.EventType{changes[0].Kind, changes[1].Kind, changes[2].Kind})
	assert.Nil(t, changes[0].Before)
	assert.Equal(t, map[string]string{"app": "a"}, changes[1].Before)
	assert.Equal(t, map[string]string{"app": "b"}, changes[1].Labels)
	assert.Equal(t, uint64(4), w.Cursor())
	changes, _, _, _ = w.Next()
	assert.Empty(t, changes, "each change is returned once")
}

func TestWatchFromFutureVersion(t *testing.T) {
	s := open(t)
	var w *Watch
	s.View(func(v View) { w = v.Watch(objects.Pods, 1) })
	changes, _, _, ok := w.Next()
	require.True(t, ok)
	assert.Empty(t, changes)
	assert.Equal(t, uint64(1), w.Cursor(), "the cursor does not move back")
	put(t, s, pod("first"))
	put(t, s, pod("second"))
	changes, _, _, ok = w.Next()
	require.True(t, ok)
	require.Len(t, changes, 1)
	assert.Equal(t, "second", changes[0].Key.Name)
}

func TestOldHistoryIsDropped(t *testing.T) {
	cases := map[string]func(t *testing.T, s *Store){
		"beyond the limit": func(t *testing.T, s *Store) {
			for i := range 5 {
				put(t, s, pod(fmt.Sprint("p", i)))
			}
		},
		"by Compact": func(_ *testing.T, s *Store) { s.Compact() },
	}
	for name, drop := range cases {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(c *Config) { c.HistoryLimit = 4 })
			var w *Watch
			s.View(func(v View) { w = v.Watch(objects.Pods, v.Version()) })
			drop(t, s)
			_, _, oldest, ok := w.Next()
			assert.False(t, ok)
			assert.Zero(t, w.Cursor())
			s.View(func(v View) {
				assert.Equal(t, v.Oldest(objects.Pods), oldest)
				w = v.Watch(objects.Pods, oldest)
			})
			_, _, _, ok = w.Next()
			assert.True(t, ok, "the oldest version works")
		})
	}
}

func TestCutWatches(t *testing.T) {
	s := open(t)
	var before, after *Watch
	s.View(func(v View) { before = v.Watch(objects.Pods, 0) })
	s.CutWatches(true)
	s.View(func(v View) { after = v.Watch(objects.Pods, 0) })
	<-before.Cut()
	assert.True(t, before.CutIsAbrupt())
	select {
	case <-after.Cut():
		assert.Fail(t, "a later watch is not cut")
	default:
	}
	s.CutWatches(false)
	<-after.Cut()
	assert.False(t, after.CutIsAbrupt())
}

func TestSavedLists(t *testing.T) {
	s := open(t)
	put(t, s, pod("web"))
	var list *List
	var ids []int
	s.Update(func(tx Tx) {
		list = tx.List(objects.Pods, "ns", func(obj objects.Object) bool { return obj.GetName() == "web" })
		for range maxSavedLists + 1 {
			ids = append(ids, tx.SaveList(list))
		}
	})
	assert.Equal(t, []string{"web"}, names(list.Entries))
	assert.Equal(t, uint64(1), list.Version)
	s.View(func(v View) {
		assert.Nil(t, v.SavedList(ids[0]), "the oldest has expired")
		assert.Same(t, list, v.SavedList(ids[1]))
	})
	s.Compact()
	s.View(func(v View) { assert.Nil(t, v.SavedList(ids[1])) })
}

func TestPodHistory(t *testing.T) {
	clock := testclock.NewFakePassiveClock(start)
	s := open(t, func(c *Config) { c.Clock = clock })
	first, second := pod("first"), pod("second")
	put(t, s, first)
	put(t, s, second)
	put(t, s, first)
	clock.SetTime(start.Add(time.Minute))
	remove(t, s, first)
	records := s.cfg.Pods.All()
	require.Len(t, records, 2)
	assert.Equal(t, []string{"first", "second"}, []string{records[0].Name, records[1].Name})
	assert.Equal(t, start.Add(time.Minute), *records[0].Deleted)
	assert.Nil(t, records[1].Deleted)
}

func inFile(file string) func(*Config) { return func(c *Config) { c.StateFile = file } }

func TestStateFileKeepsObjects(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	before := open(t, inFile(file))
	put(t, before, pod("web", "app", "web"))
	put(t, before, pod("gone"))
	remove(t, before, pod("gone"))
	_, err := before.cfg.Faults.Add(faults.Fault{Kind: faults.SoldOut})
	require.NoError(t, err)
	require.NoError(t, before.cfg.Faults.SetPolicies(faults.Policies{Fields: faults.RefuseFields}))
	before.Update(func(tx Tx) {
		tx.SaveFaults()
		tx.SavePolicies()
	})

	// The file is read as a kill leaves it: before was not closed.
	for range 2 {
		after := open(t, inFile(file))
		after.View(func(v View) {
			require.NotNil(t, v.Pod("ns", "web"))
			assert.Equal(t, "web", v.Pod("ns", "web").Labels["app"])
			assert.Equal(t, "1", v.Pod("ns", "web").ResourceVersion)
			assert.Nil(t, v.Pod("ns", "gone"))
			assert.Greater(t, v.Version(), uint64(versionGap))
			assert.Equal(t, v.Version(), v.Oldest(objects.Pods), "no older version can be watched")
		})
		assert.Equal(t, before.cfg.Faults.List(), after.cfg.Faults.List())
		assert.Equal(t, faults.RefuseFields, after.cfg.Faults.Policies().Fields)
		assert.Len(t, after.cfg.Pods.All(), 2)
		assert.Equal(t, start, *after.cfg.Pods.All()[1].Deleted)
	}
}

func TestStateFileOfCCI1KeepsNothingShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	before := open(t, inFile(file), func(c *Config) { c.Generation = objects.CCI1 })
	_, err := before.cfg.Faults.Add(faults.Fault{Kind: faults.SoldOut})
	require.NoError(t, err)
	network := &objects.Network1{Spec: objects.Network1Spec{SubnetID: "subnet"}}
	network.Namespace, network.Name = "ns", "net"
	before.Update(func(tx Tx) {
		_, err := tx.Put(objects.Networks, network)
		require.NoError(t, err)
	})
	require.NoError(t, before.Close())
	after := open(t, inFile(file), func(c *Config) { c.Generation = objects.CCI1 })
	assert.Empty(t, after.cfg.Faults.List())
	after.View(func(v View) {
		got := v.Get(objects.Networks, objects.KeyOf(network)).(*objects.Network1)
		assert.Equal(t, "subnet", got.Spec.SubnetID)
	})
}

func TestIncompleteLastLineIsIgnored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	before := open(t, inFile(file))
	put(t, before, pod("web"))
	require.NoError(t, before.Close())
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"op":"put","resource":"pods","obj`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	open(t, inFile(file)).View(func(v View) { assert.NotNil(t, v.Pod("ns", "web")) })
}

func TestInvalidLines(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON":                 "hello\n",
		"an unknown op":            `{"op":"dance"}` + "\n",
		"an unknown resource":      `{"op":"put","resource":"jobs","object":{}}` + "\n",
		"no version":               `{"op":"put","resource":"pods","object":{"metadata":{"name":"a"}}}` + "\n",
		"no Pod":                   `{"op":"pod"}` + "\n",
		"no policies":              `{"op":"policies"}` + "\n",
		"unknown policies":         `{"op":"policies","policies":{"fields":"keep"}}` + "\n",
		"an unknown kind of fault": `{"op":"faults","faults":[{"kind":"meteor"}]}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			_, err := Open(config(inFile(file)))
			assert.ErrorContains(t, err, "line 1")
		})
	}
}

func TestWriteErrorsAreReturnedByClose(t *testing.T) {
	s := open(t, inFile(filepath.Join(t.TempDir(), "state")))
	require.NoError(t, s.journal.file.Close())
	put(t, s, pod("web"))
	put(t, s, pod("other"))
	assert.ErrorIs(t, s.Close(), os.ErrClosed)
	assert.NoError(t, s.Close(), "a second Close does nothing")
	put(t, s, pod("last"))
	s.View(func(v View) { assert.Equal(t, 3, v.Count(objects.Pods, "ns"), "the objects are still served") })
}
