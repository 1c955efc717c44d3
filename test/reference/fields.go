package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// field is one field of a configuration file.
type field struct {
	// path is that of the JSON object, such as cci.exec.keepAlive.
	path string
	typ  string
	doc  string
}

// configurationPage lists the fields of the configuration file of each program: comments of the Config structs, and
// their defaults.
func configurationPage(m *module) (string, error) {
	var b strings.Builder
	begin(&b, "Configuration fields",
		"Each program reads a YAML file that `--config` names. A field that is left out "+
			"has its default. Unknown fields are errors. Durations are written as in Go: `500ms`, `1m`, `2h`. "+
			"The section `policy` must be the same in all programs that have it: [the rules](../configuration.md#the-rules).")
	for _, p := range programs() {
		if p.dir == "" {
			continue
		}
		source := m.packages[p.dir]
		if source == nil {
			return "", fmt.Errorf("package %s is missing", p.dir)
		}
		fields, err := m.fields(source, "Config", "")
		if err != nil {
			return "", err
		}
		defaults, err := flatten(p.config)
		if err != nil {
			return "", err
		}
		aliases := map[string]string{}
		if aliased, ok := p.config.(interface{ Aliases() map[string]string }); ok {
			aliases = aliased.Aliases()
		}
		var rows [][]string
		for _, f := range fields {
			doc := f.doc
			for _, old := range sortedKeys(aliases) {
				if aliases[old] == f.path {
					doc += fmt.Sprintf(" The old name `%s` is deprecated.", old)
				}
			}
			rows = append(rows, []string{code(f.path), f.typ, code(defaults[f.path]), doc})
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s", p.name, table([]string{"Field", "Type", "Default", "Description"}, rows))
	}
	return b.String(), nil
}

func sortedKeys(m map[string]string) []string {
	var result []string
	for key := range m {
		result = append(result, key)
	}
	slices.Sort(result)
	return result
}

// flatten returns the default of each field by its path.
func flatten(config any) (map[string]string, error) {
	content, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encoding defaults: %w", err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, fmt.Errorf("decoding defaults: %w", err)
	}
	result := map[string]string{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		if object, ok := value.(map[string]any); ok {
			for key, child := range object {
				walk(strings.TrimPrefix(path+"."+key, "."), child)
			}
			return
		}
		if text := literal(value); text != "" {
			result[path] = text
		}
	}
	walk("", tree)
	return result, nil
}

// literal writes a default. An empty one is "", since its comment says what empty means.
func literal(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, literal(item))
		}
		return strings.Join(items, ", ")
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(encoded)
}

// types names the types that users meet. Types of the module that are strings are "string".
var types = map[string]string{
	"string": "string", "bool": "boolean", "int": "integer", "int32": "integer", "int64": "integer",
	"float32": "number", "float64": "number", "metav1.Duration": "duration", "resource.Quantity": "quantity",
	"map[string]string": "map of strings", "corev1.Taint": "taint",
}

// fields returns the fields of a struct, those of structs in it after their own.
func (m *module) fields(p *pkg, name, prefix string) ([]field, error) {
	file, spec := p.typeSpec(name)
	if spec == nil {
		return nil, fmt.Errorf("%s: type %s is missing", p.dir, name)
	}
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		return nil, fmt.Errorf("%s: type %s is no struct", p.dir, name)
	}
	jsonNames := map[string]string{}
	for _, f := range structure.Fields.List {
		for _, ident := range f.Names {
			if name := jsonName(f); name != "" {
				jsonNames[ident.Name] = name
			}
		}
	}
	var result []field
	var errs []error
	doc := ""
	for _, f := range structure.Fields.List {
		if text := strings.TrimSpace(f.Doc.Text()); text != "" {
			doc = text
		}
		name := jsonName(f)
		if name == "" {
			continue
		}
		if len(f.Names) != 1 {
			errs = append(errs, fmt.Errorf("%s: a field of a configuration must have one name", m.position(f)))
			continue
		}
		if !names(doc, f.Names[0].Name) {
			errs = append(errs, fmt.Errorf("%s: field %s has no comment that names it", m.position(f), f.Names[0].Name))
		}
		path := strings.TrimPrefix(prefix+"."+name, ".")
		children, typ, err := m.resolve(p, file, f.Type, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.position(f), err))
		}
		if children != nil {
			result = append(result, children...)
			continue
		}
		result = append(result, field{path: path, typ: typ, doc: describeField(doc, jsonNames)})
	}
	return result, errors.Join(errs...)
}

// resolve returns the fields of a struct type, or the name of another type.
func (m *module) resolve(p *pkg, file *ast.File, expr ast.Expr, path string) ([]field, string, error) {
	if array, ok := expr.(*ast.ArrayType); ok {
		children, item, err := m.resolve(p, file, array.Elt, path+"[]")
		if children != nil {
			return children, "", err
		}
		return nil, "list of " + strings.TrimSuffix(item, "s") + "s", err
	}
	if name, ok := types[exprText(expr)]; ok {
		return nil, name, nil
	}
	target, name := p, exprText(expr)
	if selector, ok := expr.(*ast.SelectorExpr); ok {
		target, name = m.imported(file, exprText(selector.X)), selector.Sel.Name
		if target == nil {
			return nil, "", fmt.Errorf("type %s is not known", exprText(expr))
		}
	}
	_, spec := target.typeSpec(name)
	if spec == nil {
		return nil, "", fmt.Errorf("type %s is not known", exprText(expr))
	}
	if _, ok := spec.Type.(*ast.StructType); !ok {
		return nil, types[exprText(spec.Type)], nil
	}
	children, err := m.fields(target, name, path)
	return children, "object", err
}

// typeSpec finds a type of the package.
func (p *pkg) typeSpec(name string) (*ast.File, *ast.TypeSpec) {
	for _, file := range p.files {
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				if found, ok := spec.(*ast.TypeSpec); ok && found.Name.Name == name {
					return file, found
				}
			}
		}
	}
	return nil, nil
}

func jsonName(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// describeField turns the comment of a field into a description: names of fields become those of the file.
func describeField(doc string, jsonNames map[string]string) string {
	text := strings.Join(strings.Fields(doc), " ")
	text = identifier.ReplaceAllStringFunc(text, func(name string) string {
		if found, ok := jsonNames[name]; ok {
			return code(found)
		}
		return name
	})
	// A comment begins with the names of its fields, which may be ordinary words: these are replaced at the beginning
	// only.
	head, rest := "", text
	for {
		word, after, _ := strings.Cut(rest, " ")
		bare := strings.TrimSuffix(word, ",")
		found, isField := jsonNames[bare]
		switch {
		case isField:
			head += code(found) + strings.TrimPrefix(word, bare) + " "
		case word == "and" || strings.HasPrefix(word, "`"):
			head += word + " "
		default:
			return head + rest
		}
		if after == "" {
			return strings.TrimSpace(head)
		}
		rest = after
	}
}
