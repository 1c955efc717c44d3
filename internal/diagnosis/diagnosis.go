// Package diagnosis is the form of what the doctors find: "vnode doctor" in an account of the cloud, and "kubectl
// spillway doctor" in a cluster. Each has its own checks and codes. This package checks nothing.
package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Error means that something does not work until it is mended.
	Error Severity = "error"
	// Warning means that something works less well, or not as documented.
	Warning Severity = "warning"
	// Info is a fact, and no problem.
	Info Severity = "info"
)

// Code identifies a kind of finding. It never gets another meaning.
type Code string

// Kind describes a code.
type Kind struct {
	Code     Code
	Severity Severity
	Title    string
	// Meaning is what follows from a finding, and Mend what mends it, empty if nothing needs to be done. A finding may
	// have a more exact command.
	Meaning, Mend string
}

// Kinds are the kinds of one doctor, in the order of their codes.
type Kinds []Kind

// Found returns a finding with a message. A code that has no description is an error.
func (k Kinds) Found(code Code, format string, args ...any) Finding {
	kind := Kind{Code: code, Severity: Error}
	if i := slices.IndexFunc(k, func(described Kind) bool { return described.Code == code }); i >= 0 {
		kind = k[i]
	}
	return Finding{
		Code: code, Severity: kind.Severity, Title: kind.Title, Message: fmt.Sprintf(format, args...),
		Meaning: kind.Meaning, Mend: kind.Mend,
	}
}

// Finding is what a check has found. Its fields are the output of the doctors for programs.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Title says in a few words what the code stands for.
	Title string `json:"title"`
	// Object is what it is about, such as "Node virtual-node-cci-0". It may be empty.
	Object string `json:"object,omitempty"`
	// Message is what was found here.
	Message string `json:"message"`
	// Meaning is what follows from it, and Mend the command or setting that mends it.
	Meaning string `json:"meaning"`
	Mend    string `json:"mend,omitempty"`
	// Check is the check that has found it. It may be empty.
	Check string `json:"check,omitempty"`
}

// Filled returns the finding with placeholders in Mend replaced: pairs are NAMESPACE or NAME, and the value. Values are
// names of objects that exist, which Kubernetes has validated.
func (f Finding) Filled(pairs ...string) Finding {
	f.Mend = strings.NewReplacer(pairs...).Replace(f.Mend)
	return f
}

// Text returns the finding for people, in lines.
func (f Finding) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", strings.ToUpper(string(f.Severity)), f.Code, f.Title)
	if about := cmp.Or(f.Object, f.Check); about != "" {
		fmt.Fprintf(&b, " (%s)", about)
	}
	b.WriteString("\n")
	indented(&b, "  ", f.Message)
	indented(&b, "  ", f.Meaning)
	if f.Mend != "" {
		indented(&b, "  -> ", f.Mend)
	}
	return b.String()
}

// Findings are the findings of several checks.
type Findings []Finding

// Count returns the number of findings of a severity.
func (f Findings) Count(severity Severity) int {
	n := 0
	for i := range f {
		if f[i].Severity == severity {
			n++
		}
	}
	return n
}

// Sort sorts the findings: errors first, then warnings, each in the order that they had.
func (f Findings) Sort() {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	slices.SortStableFunc(f, func(a, b Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
}

// Counts returns how many findings of each severity there are, as a line for people.
func (f Findings) Counts() string {
	return fmt.Sprintf("Errors: %d, warnings: %d, facts: %d.\n", f.Count(Error), f.Count(Warning), f.Count(Info))
}

// Err returns an error if there are findings of severity Error.
func (f Findings) Err() error {
	if n := f.Count(Error); n > 0 {
		return fmt.Errorf("errors that the doctor has found: %d", n)
	}
	return nil
}

// Width is the number of columns of texts for people.
const Width = 100

// Printable returns a text without what a terminal would execute: what a service says may come from anybody.
func Printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) || unicode.IsSpace(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// wordsOf splits a text where a line may end: at spaces, but not within a command between backticks, which can be
// pasted only as a whole.
func wordsOf(text string) []string {
	var words []string
	inCommand := false
	for _, word := range strings.Fields(text) {
		if inCommand {
			words[len(words)-1] += " " + word
		} else {
			words = append(words, word)
		}
		if strings.Count(word, "`")%2 == 1 {
			inCommand = !inCommand
		}
	}
	return words
}

// indented writes a text with line breaks. The first line begins with first, others are indented as far.
func indented(b *strings.Builder, first, text string) {
	line, indent := first, strings.Repeat(" ", len(first))
	for i, word := range wordsOf(Printable(text)) {
		if i > 0 && len([]rune(line))+1+len([]rune(word)) > Width && line != indent {
			b.WriteString(line + "\n")
			line = indent + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}
