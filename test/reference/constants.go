package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spillway-k8s/spillway/policy"
)

// camel is the form of reasons and condition types. Types of conditions may have a prefix.
var camel = regexp.MustCompile(`^([a-z0-9.-]+/)?[A-Z][A-Za-z0-9]+$`)

// kindOf says what a constant is, by its type or its name: "reason", "event", "condition", or nothing of interest here.
func kindOf(c constSpec) string {
	name := strings.ToLower(c.name[:1]) + c.name[1:]
	switch {
	case !camel.MatchString(c.value):
		return ""
	case strings.HasSuffix(c.typ, "ConditionType"):
		return "condition"
	case strings.HasPrefix(name, "condition"):
		return "condition"
	case strings.HasSuffix(c.typ, "Reason"), strings.HasPrefix(c.name, "Reason"), strings.HasPrefix(name, "event"):
		// Other constants of a package named reason... hold words of Kubernetes.
		return "reason"
	}
	return ""
}

// toDo begins the part of a comment that says what to do.
const toDo = "What to do:"

// advice is what to do about a restriction.
const advice = "change the Pod template as the message says, or let the Pod run on local nodes. [What cannot run in " +
	"the cloud](../restrictions.md) has the rule."

// reasonPart is a block of reasons with a title.
type reasonPart struct {
	title    string
	sections []string
	// has are the reasons of the sections.
	has map[string]bool
}

// reasonsPage lists the types of conditions and explains the reasons.
func reasonsPage(m *module) (string, error) {
	examples, err := sentences(m.root)
	if err != nil {
		return "", err
	}
	var conditions [][]string
	var errs []error
	var parts []*reasonPart
	restrictions := map[string]string{}
	for _, rule := range policy.Rules() {
		restrictions[string(rule.Reason)] = rule.Text
	}
	for _, program := range []struct{ title, dir string }{
		{"Other reasons", "policy"}, {"extender", "extender"}, {"admission", "admission"}, {"vnode", "vnode"},
	} {
		title := ""
		for _, p := range m.sorted() {
			if p.dir != program.dir && !strings.HasPrefix(p.dir, program.dir+"/") {
				continue
			}
			for _, c := range p.consts() {
				kind := kindOf(c)
				if kind == "" {
					continue
				}
				if text := restrictions[c.value]; text != "" && p.dir == "policy" {
					c.doc = c.name + ": " + text + ". " + toDo + " " + advice
				}
				if c.doc == "" && p.dir != "policy" {
					c = m.documented(c)
				}
				if c.doc == "" {
					errs = append(errs, fmt.Errorf("%s: constant %s has no comment that names it", p.dir, c.name))
				}
				meaning, todo, _ := strings.Cut(p.describe(c), toDo)
				meaning, todo = strings.TrimSpace(meaning), strings.TrimSpace(todo)
				if kind == "condition" {
					conditions = append(conditions, []string{code(c.value), meaning})
					continue
				}
				heading := program.title
				if program.dir == "policy" && c.group != "" {
					heading = strings.TrimSuffix(firstSentence(c.group), ".")
				}
				if heading != title {
					title = heading
					if program.dir != "policy" {
						heading = "Reasons of " + heading
					}
					parts = append(parts, &reasonPart{title: heading, has: map[string]bool{}})
				}
				section := wrap(meaning)
				if program.dir == "policy" {
					if section, err = explained(c.value, meaning, todo, examples); err != nil {
						errs = append(errs, err)
					}
				} else if todo != "" {
					section += "\n" + wrap("**"+toDo+"** "+capitalize(todo))
				}
				last := parts[len(parts)-1]
				if !last.has[c.value] {
					last.has[c.value] = true
					last.sections = append(last.sections, fmt.Sprintf("\n### `%s`\n\n%s", c.value, section))
				}
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	var b strings.Builder
	begin(&b, "Reasons, Events and conditions",
		"Reasons are constant. They appear in Events, in the "+
			"conditions of Pods and Nodes, in `status.reason` of Pods, in `kubectl spillway why` and as label values of "+
			"[metrics](metrics.md). A sentence comes with most of them, which is the same everywhere, or begins what is "+
			"said. This page has examples of it. Events of vnode and `kubectl spillway why` may add what changes. "+
			"[Runbooks](../monitoring.md#conditions) say what to do about conditions.")
	b.WriteString("\n## Condition types\n\n")
	b.WriteString(table([]string{"Condition", "Meaning"}, conditions))
	for _, p := range parts {
		fmt.Fprintf(&b, "\n## %s\n%s", p.title, strings.Join(p.sections, ""))
	}
	return b.String(), nil
}

// documented takes the comment of the constant of policy with the same value, if there is one.
func (m *module) documented(c constSpec) constSpec {
	for _, other := range m.packages["policy"].consts() {
		if other.value == c.value && other.doc != "" && c.typ != "" {
			c.name, c.doc = other.name, other.doc
		}
	}
	return c
}

func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i+1]
	}
	return text
}

// keysPage lists the constants of policy/names.go by block.
func keysPage(m *module) (string, error) {
	p := m.packages["policy"]
	if p == nil {
		return "", errors.New("package policy is missing")
	}
	keys := &pkg{dir: p.dir, constants: p.constants}
	for _, file := range p.files {
		if strings.HasSuffix(m.fset.Position(file.Pos()).Filename, "names.go") {
			keys.files = append(keys.files, file)
		}
	}
	var b strings.Builder
	begin(&b, "Keys",
		"Labels, annotations, resources, taints and names that Spillway reads or writes. "+
			"How users set them: [configuration](../configuration.md).")
	var rows [][]string
	block := 0
	flush := func() {
		if rows != nil {
			b.WriteString(table([]string{"Key or value", "Meaning"}, rows))
		}
		rows = nil
	}
	for _, c := range keys.consts() {
		if c.block != block {
			flush()
			block = c.block
			title, rest := firstSentence(c.group), ""
			if len(title) < len(c.group) {
				rest = strings.TrimSpace(strings.TrimPrefix(strings.Join(strings.Fields(c.group), " "), title))
			}
			fmt.Fprintf(&b, "\n## %s\n\n", strings.TrimSuffix(title, "."))
			if rest != "" {
				b.WriteString(wrap(rest) + "\n")
			}
		}
		// Constants whose names say all have the comment of their block.
		if c.doc == "" {
			c.doc = firstSentence(c.group)
		}
		if c.doc == "" {
			return "", fmt.Errorf("policy: constant %s has no comment that names it", c.name)
		}
		rows = append(rows, []string{code(c.value), p.describe(c)})
	}
	flush()
	return b.String(), nil
}

var identifier = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*[a-z][A-Z][A-Za-z0-9]*\b`)

// describe turns the comment of a constant into a description: names of constants become their values.
func (p *pkg) describe(c constSpec) string {
	text := strings.Join(strings.Fields(c.doc), " ")
	// "ReasonX, ReasonY: what they mean" needs no names: the value is in the first column.
	if head, rest, found := strings.Cut(text, ": "); found && names(head, c.name) && onlyIdentifiers(head) {
		text = capitalize(rest)
	}
	return identifier.ReplaceAllStringFunc(text, func(name string) string {
		if value, ok := p.constants[name]; ok {
			return code(value)
		}
		return name
	})
}

// onlyIdentifiers reports whether a text lists names in Go and nothing else.
func onlyIdentifiers(text string) bool {
	for _, word := range strings.Fields(text) {
		word = strings.TrimSuffix(word, ",")
		if word != "and" && (strings.ToLower(word) == word || strings.Contains(word, ".")) {
			return false
		}
	}
	return true
}

// capitalize begins a text with a capital letter, unless its first word is a name such as hostNetwork.
func capitalize(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if strings.ToLower(word) != word {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
