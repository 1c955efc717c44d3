package explain

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spillway-k8s/spillway/policy"
)

// marks are the effects in text.
var marks = map[Effect]string{Allows: "✓", Prevents: "✗", None: "–"}

// Text returns explanations for people: of one Pod all of it, of several Pods a line for each, and all of it for the
// first that waits.
func Text(explanations []Explanation) string {
	if len(explanations) == 1 {
		return explanations[0].Text()
	}
	var b strings.Builder
	counts := map[Place]int{}
	for _, e := range explanations {
		counts[e.Place]++
	}
	fmt.Fprintf(&b, "%d Pods: %d on local nodes, %d in the cloud, %d waiting\n\n", len(explanations), counts[Local],
		counts[Cloud], counts[Waiting])
	detailed := -1
	for i, e := range explanations {
		fmt.Fprintf(&b, "  %s/%s\n    %s\n", e.Namespace, e.Pod, e.Summary)
		if detailed < 0 && e.Place == Waiting {
			detailed = i
		}
	}
	if detailed < 0 {
		if len(explanations) > 0 {
			fmt.Fprintf(&b, "\nThe steps, the size and what would change it, of one of them:\n"+
				"  kubectl spillway why -n %s pod %s\n", explanations[0].Namespace, explanations[0].Pod)
		}
		return Printable(b.String())
	}
	return Printable(b.String()) + "\n" + explanations[detailed].Text()
}

// Text returns the explanation for people: one screen.
func (e Explanation) Text() string {
	var b strings.Builder
	title := e.Namespace + "/" + e.Pod
	if e.Workload != "" {
		title += " (" + e.Workload + ")"
	}
	fmt.Fprintf(&b, "%s\n  %s\n\n", title, e.Summary)
	for _, step := range e.Steps {
		fmt.Fprintf(&b, "  %s %-12s  %s\n", marks[step.Effect], step.Name, step.Text)
	}
	if e.Wait != nil && e.Wait.Left != "" {
		fmt.Fprintf(&b, "\nIt may burst in %s, at %s\n", e.Wait.Left, e.Wait.Until)
	}
	e.writeSettings(&b)
	if e.Quota != nil && len(e.Quota.Holders) > 0 {
		b.WriteString("\nLocal slots are held by\n")
		for _, h := range e.Quota.Holders {
			node := h.Node
			if node == "" {
				node = "not bound yet"
			}
			fmt.Fprintf(&b, "  %s  %s\n", h.Pod, node)
		}
		if e.Quota.NotListed > 0 {
			fmt.Fprintf(&b, "  and %d more\n", e.Quota.NotListed)
		}
	}
	if e.Size != nil {
		price := ""
		if e.Size.PerHour != "" {
			price = fmt.Sprintf(", %s %s an hour", e.Size.PerHour, e.Size.Currency)
		}
		fmt.Fprintf(&b, "\nSize in the cloud: %s vCPU, %s%s (requested: %s, %s)\n", e.Size.BilledCPU,
			e.Size.BilledMemory, price, e.Size.RequestedCPU, e.Size.RequestedMemory)
	}
	if len(e.Changes) > 0 {
		b.WriteString("\nWhat would change it\n")
		for _, c := range e.Changes {
			fmt.Fprintf(&b, "  %s\n", c.Effect)
			if c.Command != "" {
				fmt.Fprintf(&b, "    %s\n", c.Command)
			}
		}
	}
	if e.Message.Code != "" {
		fmt.Fprintf(&b, "\nAbout %s: %s\n", e.Message.Code, PageOf(e.Message.Code))
	}
	for _, unknown := range e.Unknown {
		fmt.Fprintf(&b, "\nNot known: %s\n", unknown)
	}
	return Printable(b.String())
}

// writeSettings writes where the settings stand. That of a quota alone is where users expect it.
func (e Explanation) writeSettings(b *strings.Builder) {
	if len(e.Settings) == 0 || len(e.Settings) == 1 && e.Settings[0].Key == policy.LocalReplicasAnnotation &&
		e.Settings[0].From == fromPod {
		return
	}
	b.WriteString("\nThe settings stand on\n")
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, s := range e.Settings {
		fmt.Fprintf(table, "  %s=%s\t%s\n", s.Key, s.Value, s.From)
	}
	_ = table.Flush() // A strings.Builder never fails.
}

// page is the documentation of the codes of messages.
const page = "https://github.com/spillway-k8s/spillway/blob/main/docs/reference/reasons.md"

// PageOf returns the address of what the documentation says about a code: what it means and what to do.
func PageOf(code policy.Reason) string { return page + "#" + strings.ToLower(string(code)) }

// Printable removes control characters: tenants write some of the text, and it is printed to terminals of operators.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
}
