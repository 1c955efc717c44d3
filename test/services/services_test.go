package services

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/klog/v2"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/services/table"
)

var (
	idle     = flag.Duration("idle", 70*time.Second, "how long the idle connection is idle")
	document = flag.String("document", "", "page for the figures, in its section services")
)

func TestMain(m *testing.M) {
	ccisim.Init()
	klog.SetLogger(logr.Discard()) // The streams of commands log that they end.
	os.Exit(machine.Isolate(m.Run))
}

// TestServices plays each row of the table in each mode and direction. Rows run in parallel, except for those that
// stop vnode, which are the last ones. The modes follow one after the other, since routes are those of the whole cloud.
func TestServices(t *testing.T) {
	requirePlayers(t)
	w := startWorld(t)
	for _, mode := range policy.ServicesModes() {
		t.Run(string(mode), func(t *testing.T) {
			require.NoError(t, w.route(mode))
			w.createPods(t, inCloud(mode))
			var group sync.WaitGroup
			for _, direction := range table.Directions() {
				if isSerial(direction) {
					group.Wait()
				}
				group.Go(func() { t.Run(string(direction), func(t *testing.T) { w.playRows(t, mode, direction) }) })
			}
			group.Wait()
		})
	}
	t.Run("cost", w.playCost)
}

// requirePlayers checks that each row has a function that plays it.
func requirePlayers(t *testing.T) {
	t.Helper()
	var names []string
	for _, row := range table.Rows() {
		names = append(names, row.Name)
	}
	require.ElementsMatch(t, names, slices.Collect(maps.Keys(players)))
}

func (w *world) playRows(t *testing.T, mode policy.ServicesMode, direction table.Direction) {
	for _, row := range table.Rows() {
		outcome := row.Outcome(mode, direction)
		if outcome == "" {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			if !isSerial(direction) {
				t.Parallel()
			}
			players[row.Name](t, w.newCell(t, row.Name, mode, direction, outcome))
		})
	}
}

// isSerial reports whether the rows of a direction run one after the other, because some stop vnode.
func isSerial(direction table.Direction) bool { return direction == table.CloudToBoth }

// cell is one cell of the table.
type cell struct {
	*world
	mode      policy.ServicesMode
	direction table.Direction
	outcome   table.Outcome
	// from is the client, to are the endpoints that selector selects.
	from     pod
	to       []pod
	selector map[string]string
	// name is that of the Service.
	name string
}

func (w *world) newCell(
	t *testing.T, row string, mode policy.ServicesMode, direction table.Direction, outcome table.Outcome,
) *cell {
	t.Helper()
	c := &cell{
		world: w, mode: mode, direction: direction, outcome: outcome, from: w.client(t, string(mode)),
		name: nameOf(row, mode, direction),
	}
	if direction == table.LocalToCloud || direction == table.LocalToBoth {
		c.from = w.client(t, local)
	}
	switch direction {
	case table.CloudToLocal:
		c.selector, c.to = map[string]string{"servers": local}, w.servers(t, local)
	case table.CloudToCloud, table.LocalToCloud:
		c.selector, c.to = map[string]string{"servers": string(mode)}, w.servers(t, string(mode))
	case table.CloudToBoth, table.LocalToBoth:
		c.selector = map[string]string{"reached-by-" + string(mode): "true"}
		c.to = append(w.servers(t, string(mode)), w.servers(t, local)...)
	}
	return c
}

// nameOf returns the name of the Service of a cell. Names of Pods and host names begin with it, so it is short.
func nameOf(row string, mode policy.ServicesMode, direction table.Direction) string {
	const most = 20
	slug := strings.ReplaceAll(strings.ToLower(row), " ", "-")
	from, to, _ := strings.Cut(string(direction), " to ")
	return strings.TrimRight(slug[:min(len(slug), most)], "-") + "-" + from[:1] + to[:1] + "-" + string(mode)
}

// works reports whether the connection must succeed.
func (c *cell) works() bool { return c.outcome == table.Works || c.outcome == table.OneNode }

// errorsOf are texts in the errors of an outcome, one of which must be there.
var errorsOf = map[table.Outcome][]string{
	table.TimesOut: {"deadline exceeded", "i/o timeout"},
	table.Refused:  {"connection refused", "connection reset", "EOF"},
	table.NoName:   {"no such host"},
	table.NotSet:   {"is not set"},
}

// matches returns nil if the result of a call is the outcome.
func matches(outcome table.Outcome, err error) error {
	if outcome == table.Works || outcome == table.OneNode {
		return err
	}
	if err == nil {
		return fmt.Errorf("it works: want %s", outcome)
	}
	if !slices.ContainsFunc(errorsOf[outcome], func(text string) bool { return strings.Contains(err.Error(), text) }) {
		return fmt.Errorf("want %s: %w", outcome, err)
	}
	return nil
}

// settles waits until a call has the outcome of the cell: those who carry connections learn of changes later.
func (c *cell) settles(t *testing.T, call func(context.Context) error) {
	t.Helper()
	c.eventually(t, string(c.outcome), func(ctx context.Context) error { return matches(c.outcome, call(ctx)) })
}

func TestEachServiceHasAName(t *testing.T) {
	cells := map[string]string{}
	for _, row := range table.Rows() {
		for _, line := range row.Lines {
			for _, direction := range line.Directions {
				name := nameOf(row.Name, policy.ServicesKubeProxy, direction)
				assert.Empty(t, validation.NameIsDNS1035Label(name, false), name)
				assert.Empty(t, cells[name], "%s has the same name as %s", row.Name, name)
				cells[name] = row.Name
			}
		}
	}
}

func TestOutcomesAreRecognized(t *testing.T) {
	refused := errors.New("connect: connection refused")
	assert.NoError(t, matches(table.Works, nil))
	assert.ErrorIs(t, matches(table.Works, refused), refused)
	assert.NoError(t, matches(table.Refused, refused))
	assert.EqualError(t, matches(table.Refused, nil), "it works: want refused")
	assert.EqualError(t, matches(table.TimesOut, refused), "want times out: connect: connection refused")
}
