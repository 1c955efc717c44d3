package api

import (
	"fmt"
	"sort"
)

// fields lists what an object in a body may contain, by JSON name. A nil value accepts everything below the name.
type fields map[string]*fieldRule

// fieldRule is how one field is treated.
type fieldRule struct {
	// children are the fields of the object below, or of each object of the list below.
	children fields
	// refusal, if set, is the error message for a body in which the field is not false, zero or empty.
	refusal string
	// quiet fields are removed without being recorded: the server sets them, and every Kubernetes client sends them back.
	quiet bool
}

func group(children fields) *fieldRule { return &fieldRule{children: children} }

func refused(message string) *fieldRule { return &fieldRule{refusal: message} }

func serverSet() *fieldRule { return &fieldRule{quiet: true} }

// names returns fields that are accepted without a check.
func names(list ...string) fields {
	out := fields{}
	for _, name := range list {
		out[name] = nil
	}
	return out
}

// with adds fields with rules.
func (f fields) with(more fields) fields {
	for name, rule := range more {
		f[name] = rule
	}
	return f
}

// pruned is the result of pruning a body.
type pruned struct {
	// unlisted are the paths of the removed fields, which the schema does not list.
	unlisted []string
	// refusals are the paths and messages of fields that are refused under every policy.
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

// isEmptyJSON reports whether a value means the same as leaving the field out.
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
