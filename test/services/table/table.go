// Package table lists what Pods do with Services: in each mode of Services and each direction, with what must happen.
// docs/guides/services.md shows it, and the tests of package services play it.
package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spillway-k8s/spillway/policy"
)

// Direction is where a connection begins and where the endpoints are.
type Direction string

const (
	CloudToLocal Direction = "cloud to local"
	CloudToCloud Direction = "cloud to cloud"
	// CloudToBoth is to endpoints in both places.
	CloudToBoth  Direction = "cloud to both"
	LocalToCloud Direction = "local to cloud"
	// LocalToBoth is to endpoints in both places.
	LocalToBoth Direction = "local to both"
)

// Directions returns all directions, in the order of the table.
func Directions() []Direction {
	return []Direction{CloudToLocal, CloudToCloud, LocalToCloud, LocalToBoth, CloudToBoth}
}

// Outcome is what happens.
type Outcome string

const (
	Works Outcome = "yes"
	// OneNode: it works, but only the endpoints on the node that routes are used.
	OneNode  Outcome = "one node"
	TimesOut Outcome = "times out"
	Refused  Outcome = "refused"
	// NoName: the name does not exist.
	NoName Outcome = "no name"
	// NotSet: the Pod does not know an address.
	NotSet Outcome = "not set"
)

// Row is a kind of Service, or something that happens to one.
type Row struct {
	// Name is the name of the row and of its subtests.
	Name  string
	Lines []Line
}

// Line has the outcomes of a row for some directions.
type Line struct {
	Directions []Direction
	// Outcomes are those of the modes, in the order of policy.ServicesModes.
	Outcomes [4]Outcome
}

// Outcome returns what happens in a mode and a direction. It is empty if the row says nothing about the direction.
func (r Row) Outcome(mode policy.ServicesMode, direction Direction) Outcome {
	for _, line := range r.Lines {
		if slices.Contains(line.Directions, direction) {
			return line.Outcomes[slices.Index(policy.ServicesModes(), mode)]
		}
	}
	return ""
}

// Names of rows.
const (
	ClusterIP       = "ClusterIP with a named target port"
	Number          = "ClusterIP as a number"
	NumericPort     = "ClusterIP with a numeric target port"
	BothPlaces      = "endpoints in both places"
	Headless        = "headless"
	StatefulSet     = "names of the Pods of a StatefulSet"
	UDP             = "UDP"
	Affinity        = "session affinity"
	LocalPolicy     = "internalTrafficPolicy Local"
	ExternalName    = "ExternalName"
	NoSelector      = "no selector"
	APIServer       = "API server with the token of the Pod"
	Searches        = "search domains"
	Later           = "created after the Pod"
	Deleted         = "reached until it is deleted"
	Rollout         = "rollout of the endpoints"
	Idle            = "idle connection"
	HalfClosed      = "half-closed connection"
	Itself          = "a Pod that calls itself"
	RefusingAddress = "an endpoint that refuses"
	NoEndpoints     = "no endpoints"
	UnknownName     = "no such Service"
	VNodeKilled     = "vnode killed"
	VNodeReplaced   = "created after vnode was replaced"
)

// Rows returns all rows.
func Rows() []Row {
	usual := rows(ClusterIP, NumericPort, UDP, Affinity, NoSelector, Searches, Later, Deleted, Rollout, Idle, HalfClosed)
	names := rows(Headless, StatefulSet)
	return slices.Concat(
		usual(reaches(fromCloud...), always(Works, LocalToCloud)),
		rows(BothPlaces)(reaches(CloudToBoth), always(Works, LocalToBoth)),
		rows(VNodeKilled)(reaches(CloudToBoth)),
		rows(VNodeReplaced)(in(TimesOut, Works, Works, TimesOut, CloudToBoth)),
		rows(Number)(in(TimesOut, Works, TimesOut, Works, fromCloud...), always(Works, LocalToCloud)),
		names(always(Works, append(fromCloud, LocalToCloud)...)),
		rows(Itself)(reaches(CloudToCloud)),
		rows(LocalPolicy)(
			in(TimesOut, OneNode, Refused, TimesOut, CloudToLocal), in(TimesOut, TimesOut, Works, Works, CloudToCloud),
			always(TimesOut, LocalToCloud)),
		rows(APIServer)(in(NotSet, Works, Works, Works, CloudToLocal)),
		rows(ExternalName)(always(Works, CloudToLocal)),
		rows(RefusingAddress, NoEndpoints)(
			in(TimesOut, Refused, Refused, Refused, fromCloud...), always(Refused, LocalToCloud)),
		rows(UnknownName)(always(NoName, CloudToLocal)),
	)
}

// fromCloud are the directions of a Pod in the cloud to endpoints in one place.
var fromCloud = []Direction{CloudToLocal, CloudToCloud}

// rows returns a function that makes rows with the same lines.
func rows(names ...string) func(lines ...Line) []Row {
	return func(lines ...Line) []Row {
		var all []Row
		for _, name := range names {
			all = append(all, Row{Name: name, Lines: lines})
		}
		return all
	}
}

// in returns a line with an outcome for each mode.
func in(off, routed, proxy, kubeProxy Outcome, directions ...Direction) Line {
	return Line{Directions: directions, Outcomes: [4]Outcome{off, routed, proxy, kubeProxy}}
}

// always returns a line with the same outcome in all modes.
func always(outcome Outcome, directions ...Direction) Line {
	return in(outcome, outcome, outcome, outcome, directions...)
}

// reaches returns a line of what works in each mode but off.
func reaches(directions ...Direction) Line { return in(TimesOut, Works, Works, Works, directions...) }

// Markdown returns the table.
func Markdown() string {
	var text strings.Builder
	text.WriteString("| Service | direction |")
	for _, mode := range policy.ServicesModes() {
		fmt.Fprintf(&text, " `%s` |", mode)
	}
	text.WriteString("\n|---|---|---|---|---|---|\n")
	for _, row := range Rows() {
		name := row.Name
		for _, line := range row.Lines {
			fmt.Fprintf(&text, "| %s | %s |", name, join(line.Directions))
			for _, outcome := range line.Outcomes {
				fmt.Fprintf(&text, " %s |", outcome)
			}
			text.WriteString("\n")
			name = ""
		}
	}
	return text.String()
}

func join(directions []Direction) string {
	var texts []string
	for _, direction := range directions {
		texts = append(texts, string(direction))
	}
	return strings.Join(texts, ", ")
}
