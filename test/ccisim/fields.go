package ccisim

import (
	"fmt"
	"sort"
)

// fields lists what an object of a body may hold, by JSON name. A nil value takes everything below the name as it is.
type fields map[string]*fieldRule

// fieldRule is what is known of one field.
type fieldRule struct {
	// children are the fields of the object below, or of each object of the list below.
	children fields
	// refusal, when set, refuses a body in which the field has any value but false, zero or empty, with these words.
	refusal string
	// quiet fields are left out without being reported: the server sets them, and every Kubernetes client sends them back.
	quiet bool
}

func group(children fields) *fieldRule { return &fieldRule{children: children} }

func refused(words string) *fieldRule { return &fieldRule{refusal: words} }

func serverSet() *fieldRule { return &fieldRule{quiet: true} }

// names makes a list of fields that are taken as they are.
func names(list ...string) fields {
	out := fields{}
	for _, name := range list {
		out[name] = nil
	}
	return out
}

// with adds fields that have rules of their own.
func (f fields) with(more fields) fields {
	for name, rule := range more {
		f[name] = rule
	}
	return f
}

// pruned is what pruning a body found.
type pruned struct {
	// unlisted are the paths of the fields that the schema does not list, now removed.
	unlisted []string
	// refusals are the paths and words of fields that are refused whatever the policy.
	refusals []string
}

// prune removes what the rules do not list from value, which is decoded JSON.
func (p *pruned) prune(path string, value any, allowed fields) {
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			p.prune(fmt.Sprintf("%s[%d]", path, i), item, allowed)
		}
	case map[string]any:
		for _, name := range sortedKeys(v) {
			p.pruneField(path, name, v, allowed)
		}
	}
}

func (p *pruned) pruneField(path, name string, in map[string]any, allowed fields) {
	full := name
	if path != "" {
		full = path + "." + name
	}
	rule, listed := allowed[name]
	switch {
	case in[name] == nil:
		delete(in, name)
	case !listed:
		delete(in, name)
		p.unlisted = append(p.unlisted, full)
	case rule == nil:
	case rule.quiet:
		delete(in, name)
	case rule.refusal != "":
		if !isEmptyJSON(in[name]) {
			p.refusals = append(p.refusals, full+": "+rule.refusal)
		}
		delete(in, name)
	default:
		p.prune(full, in[name], rule.children)
	}
}

// isEmptyJSON tells the values that mean the same as leaving the field out.
func isEmptyJSON(value any) bool {
	switch v := value.(type) {
	case bool:
		return !v
	case string:
		return v == ""
	case float64:
		return v == 0
	case []any:
		return len(v) == 0
	default:
		return false
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
