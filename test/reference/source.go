package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is the code of the repository without its tests.
type module struct {
	root string
	path string
	fset *token.FileSet
	// packages by directory, with slashes, relative to the root.
	packages map[string]*pkg
}

// pkg is one package.
type pkg struct {
	dir   string
	files []*ast.File
	// constants are the constants of type string whose value is a literal or is made of such.
	constants map[string]string
	// module is nil in tests of a single package.
	module *module
}

// parseModule parses the programs and what they share. The directory test is left out: its programs are for the
// project's own use.
func parseModule(root string) (*module, error) {
	m := &module{root: root, fset: token.NewFileSet(), packages: map[string]*pkg{}}
	content, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("reading the module file: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	m.path = strings.TrimSpace(strings.TrimPrefix(line, "module"))
	for _, dir := range []string{"policy", "internal", "extender", "admission", "vnode", "proxy"} {
		if err := filepath.WalkDir(filepath.Join(root, dir), m.visit); err != nil {
			return nil, fmt.Errorf("parsing the code: %w", err)
		}
	}
	// Constants of policy are used in others.
	for _, p := range append([]*pkg{m.packages["policy"]}, m.sorted()...) {
		p.findConstants()
	}
	return m, nil
}

func (m *module) visit(name string, entry fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case entry.IsDir() && entry.Name() == "testdata":
		return filepath.SkipDir
	case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
		return nil
	}
	file, err := parser.ParseFile(m.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir, err := filepath.Rel(m.root, filepath.Dir(name))
	if err != nil {
		return err
	}
	dir = filepath.ToSlash(dir)
	if m.packages[dir] == nil {
		m.packages[dir] = &pkg{dir: dir, constants: map[string]string{}, module: m}
	}
	m.packages[dir].files = append(m.packages[dir].files, file)
	return nil
}

// sorted returns the packages by directory.
func (m *module) sorted() []*pkg {
	var result []*pkg
	for _, p := range m.packages {
		result = append(result, p)
	}
	slices.SortFunc(result, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	return result
}

// position is where a node stands, for error messages.
func (m *module) position(node ast.Node) string {
	at := m.fset.Position(node.Pos())
	name, err := filepath.Rel(m.root, at.Filename)
	if err != nil {
		name = at.Filename
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(name), at.Line)
}

// imported returns the package of the module that a file imports under a name, or nil.
func (m *module) imported(file *ast.File, name string) *pkg {
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.HasPrefix(path, m.path+"/") {
			continue
		}
		dir := strings.TrimPrefix(path, m.path+"/")
		if (spec.Name != nil && spec.Name.Name == name) || (spec.Name == nil && dir[strings.LastIndex(dir, "/")+1:] == name) {
			return m.packages[dir]
		}
	}
	return nil
}

// constSpec is one constant.
type constSpec struct {
	name string
	// typ is the type as it is written, or that of a conversion.
	typ   string
	value string
	doc   string
	// group is the comment of the block of constants.
	group string
	// block tells the blocks of a package apart.
	block int
}

// findConstants fills constants. Blocks may refer to each other, so it repeats until nothing is found.
func (p *pkg) findConstants() {
	for {
		before := len(p.constants)
		for _, spec := range p.consts() {
			p.constants[spec.name] = spec.value
		}
		if len(p.constants) == before {
			return
		}
	}
}

// consts lists the constants of type string in the order of the source.
func (p *pkg) consts() []constSpec {
	var result []constSpec
	block := 0
	for _, file := range p.files {
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok || general.Tok != token.CONST {
				continue
			}
			block++
			doc := ""
			for _, spec := range general.Specs {
				values := spec.(*ast.ValueSpec)
				if text := strings.TrimSpace(values.Doc.Text()); text != "" {
					doc = text
				} else if !general.Lparen.IsValid() {
					doc = strings.TrimSpace(general.Doc.Text())
				}
				for i, name := range values.Names {
					if i >= len(values.Values) {
						continue
					}
					value, err := p.eval(values.Values[i], nil)
					if err != nil {
						continue
					}
					found := constSpec{name: name.Name, typ: typeOf(values, i), value: value, block: block}
					if general.Lparen.IsValid() {
						found.group = strings.TrimSpace(general.Doc.Text())
					}
					// A comment may be for several constants that it names. A type and its zero value need none.
					if names(doc, name.Name) {
						found.doc = doc
					} else if comment := strings.TrimSpace(values.Comment.Text()); comment != "" {
						found.doc = comment
					}
					result = append(result, found)
				}
			}
		}
	}
	return result
}

func typeOf(spec *ast.ValueSpec, i int) string {
	if spec.Type != nil {
		return exprText(spec.Type)
	}
	if call, ok := spec.Values[i].(*ast.CallExpr); ok {
		return exprText(call.Fun)
	}
	return ""
}

func exprText(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return exprText(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return exprText(e.X)
	case *ast.ArrayType:
		return "[]" + exprText(e.Elt)
	case *ast.MapType:
		return "map[" + exprText(e.Key) + "]" + exprText(e.Value)
	}
	return ""
}

// names reports whether a comment is for the identifier: the identifier is one of its words.
func names(doc, identifier string) bool {
	return slices.Contains(strings.FieldsFunc(doc, func(r rune) bool {
		return !(r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}), identifier)
}

var errNotConstant = errors.New("not a constant string")

// eval returns the value of a string expression. variables are the parameters of a function whose arguments are known.
func (p *pkg) eval(expr ast.Expr, variables map[string]string) (string, error) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			return strconv.Unquote(e.Value)
		}
	case *ast.ParenExpr:
		return p.eval(e.X, variables)
	case *ast.BinaryExpr:
		left, err := p.eval(e.X, variables)
		if err != nil || e.Op != token.ADD {
			return "", errNotConstant
		}
		right, err := p.eval(e.Y, variables)
		return left + right, err
	case *ast.Ident:
		if value, ok := variables[e.Name]; ok {
			return value, nil
		}
		if value, ok := p.constants[e.Name]; ok {
			return value, nil
		}
	case *ast.SelectorExpr:
		if p.module != nil && exprText(e.X) == "policy" {
			if value, ok := p.module.packages["policy"].constants[e.Sel.Name]; ok {
				return value, nil
			}
		}
	case *ast.CallExpr:
		// A conversion of a constant to another type.
		conversion := exprText(e.Fun)
		if len(e.Args) == 1 &&
			(conversion == "string" || strings.HasSuffix(conversion, "Reason") || strings.HasSuffix(conversion, "Type")) {
			return p.eval(e.Args[0], variables)
		}
	}
	return "", errNotConstant
}
