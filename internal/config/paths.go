package config

import "strings"

// split returns the elements of a path such as "soldOut.timeout".
func split(path string) []string { return strings.Split(path, ".") }

// take removes the value at a path and returns it. ok is false if nothing is there.
func take(root map[string]any, path []string) (value any, ok bool) {
	parent := root
	for _, name := range path[:len(path)-1] {
		if parent, ok = parent[name].(map[string]any); !ok {
			return nil, false
		}
	}
	last := path[len(path)-1]
	value, ok = parent[last]
	delete(parent, last)
	return value, ok
}

// put sets the value at a path. It returns false, and changes nothing, if a value is there already.
func put(root map[string]any, path []string, value any) bool {
	parent := root
	for _, name := range path[:len(path)-1] {
		child, ok := parent[name].(map[string]any)
		if !ok {
			child = map[string]any{}
			parent[name] = child
		}
		parent = child
	}
	last := path[len(path)-1]
	if _, taken := parent[last]; taken {
		return false
	}
	parent[last] = value
	return true
}
