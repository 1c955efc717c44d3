package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
)

// Progress returns what prints each check on a line: its name when it begins, and the rest when it ends.
func Progress(out io.Writer) func(CheckReport) {
	begun := ""
	return func(c CheckReport) {
		if c.Outcome == "" {
			begun = c.Check
			fmt.Fprintf(out, "%-16s ", c.Check)
			return
		}
		if begun != c.Check {
			fmt.Fprintf(out, "%-16s ", c.Check)
		}
		begun = ""
		fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("%-8s %s", c.Outcome, oneLine(c.Note))))
	}
}

// oneLine returns a text as one line of limited length.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(diagnosis.Printable(text)), " ")
	if runes := []rune(text); len(runes) > 2*diagnosis.Width {
		return string(runes[:2*diagnosis.Width]) + "…"
	}
	return text
}

// PrintText prints the findings for people.
func (r *Report) PrintText(out io.Writer) {
	for i := range r.Findings {
		fmt.Fprintf(out, "\n%s", r.Findings[i].Text())
	}
	fmt.Fprintf(out, "\n%s", r.Findings.Counts())
	if len(r.Incomplete) > 0 {
		fmt.Fprintf(out, "Not completed: %s.\n", strings.Join(r.Incomplete, ", "))
	}
	if !r.Created {
		fmt.Fprintf(out, "Nothing was created in the cloud. %s\n", createText)
	}
}

// createText says what --create does.
const createText = `With --create, the command also creates a
namespace, a network and four Pods of the smallest size (0.25 CPU, 0.5 GiB), looks at them, and
removes them. That takes some minutes, and costs less than a cent.`

// PrintJSON prints the report for programs.
func (r *Report) PrintJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return nil
}
