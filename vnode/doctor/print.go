package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// width is the number of columns of texts for people.
const width = 100

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
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 2*width {
		return string(runes[:2*width]) + "…"
	}
	return text
}

// PrintText prints the findings for people.
func (r *Report) PrintText(out io.Writer) {
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(out, "\n%s %s %s (%s)\n", strings.ToUpper(string(f.Severity)), f.Code, f.Title, f.Check)
		printIndented(out, "  ", f.Message)
		printIndented(out, "  ", f.Meaning)
		if f.Mend != "" {
			printIndented(out, "  -> ", f.Mend)
		}
	}
	fmt.Fprintf(out, "\nErrors: %d, warnings: %d, facts: %d.\n", r.Count(Error), r.Count(Warning), r.Count(Info))
	if !r.Created {
		fmt.Fprintf(out, "Nothing was created in the cloud. %s\n", createText)
	}
}

// createText says what --create does.
const createText = `With --create, the command also creates a
namespace, a network and four Pods of the smallest size (0.25 CPU, 0.5 GiB), looks at them, and
removes them. That takes some minutes, and costs less than a cent.`

// printIndented prints a text with line breaks.
func printIndented(out io.Writer, first, text string) {
	line, indent := first, strings.Repeat(" ", len(first))
	for i, word := range strings.Fields(text) {
		if i > 0 && len([]rune(line))+1+len([]rune(word)) > width && line != indent {
			fmt.Fprintln(out, line)
			line = indent + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(out, line)
}

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
