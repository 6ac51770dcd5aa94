package arch

import (
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
	"testing"

	"github.com/facet-search/facet/internal/testenv"
)

const (
	module           = "github.com/facet-search/facet/"
	maxFunctionLines = 80
	maxFileLines     = 400
)

// mayImport says which packages of ours each part of the tree may use, itself apart: imports point
// one way. A part that is not listed may use none. bench measures everything and so may use it.
var mayImport = map[string][]string{
	"stages":     {"pipeline"},
	"sinks":      {"pipeline"},
	"modulation": {"pipeline"},
	"jobs":       {"pipeline", "stages", "sinks", "modulation"},
	"bench":      {"pipeline", "stages", "sinks", "modulation", "jobs", "internal"},
	"internal":   {"pipeline", "stages", "sinks", "modulation"},
}

// onlyTests may be imported by tests, and by each other, and by nothing that ships.
var onlyTests = []string{"internal", "sinks/store/storetest"}

// noIO are the packages that modulation, which does no I/O, can't need.
var noIO = []string{"os", "net", "net/http", "io/ioutil", "syscall"}

// starters are the functions outside pipeline that start goroutines all the same, and why.
var starters = map[string]string{}

// source is one parsed file; its path is relative to the module.
type source struct {
	path string
	file *ast.File
	set  *token.FileSet
}

func (s source) test() bool      { return strings.HasSuffix(s.path, "_test.go") }
func (s source) generated() bool { return ast.IsGenerated(s.file) }

// forTests tells whether a package or file below the module belongs to tests alone.
func forTests(path string) bool {
	return slices.ContainsFunc(onlyTests, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// part is the first element of the path: pipeline, stages, jobs, …
func part(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

func (s source) line(p token.Pos) int { return s.set.Position(p).Line }

func (s source) at(p token.Pos) string { return fmt.Sprintf("%s:%d", s.path, s.line(p)) }

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	root := testenv.Root(t)
	set := token.NewFileSet()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipFolder(root, path)
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all = append(all, source{filepath.ToSlash(rel), f, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files below %s", len(all), root)
	}
	return all
}

// skipFolder leaves out what is not of this module: downloads, test data, and modules of their own.
func skipFolder(root, path string) error {
	name := filepath.Base(path)
	if path == root {
		return nil
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	if err == nil || strings.HasPrefix(name, ".") || slices.Contains([]string{"testdata", "node_modules", "out", "bin"}, name) {
		return filepath.SkipDir
	}
	return nil
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := objection(s, path); why != "" {
				t.Errorf("%s imports %s: %s", s.at(spec.Pos()), path, why)
			}
		}
	}
}

// objection says why the file may not import the path, or nothing.
func objection(s source, path string) string {
	from := part(s.path)
	own, ours := strings.CutPrefix(path, module)
	if !ours {
		if from == "modulation" && !s.test() && slices.Contains(noIO, path) {
			return "modulation does no I/O"
		}
		return ""
	}
	to := part(own)
	switch {
	case forTests(own) && (s.test() || forTests(s.path) || from == "bench"):
		return ""
	case forTests(own):
		return "that package is for tests"
	case from == to || slices.Contains(mayImport[from], to):
		return ""
	}
	return fmt.Sprintf("%s may import only %v", from, append([]string{from}, mayImport[from]...))
}

func TestObjection(t *testing.T) {
	cases := []struct {
		file, imports string
		allowed       bool
	}{
		{"pipeline/flow.go", module + "stages", false},
		{"pipeline/flow.go", "os", true},
		{"stages/embed.go", module + "pipeline", true},
		{"stages/embed.go", module + "stages/engine", true},
		{"stages/embed.go", module + "sinks", false},
		{"stages/embed.go", module + "internal/npz", false},
		{"stages/embed_test.go", module + "internal/npz", true},
		{"sinks/store/storetest/s3.go", module + "internal/testenv", true},
		{"sinks/index.go", module + "sinks/store/storetest", false},
		{"sinks/index.go", module + "jobs/index", false},
		{"modulation/fold.go", "os", false},
		{"modulation/fold_test.go", "os", true},
		{"jobs/index/run.go", module + "modulation", true},
		{"jobs/index/run.go", module + "bench", false},
		{"docs/examples/go/main.go", module + "sinks", false},
	}
	for _, c := range cases {
		if why := objection(source{path: c.file}, c.imports); (why == "") != c.allowed {
			t.Errorf("%s imports %s: objection %q, want allowed %v", c.file, c.imports, why, c.allowed)
		}
	}
}

func TestOnlyPipelineStartsGoroutines(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || forTests(s.path) || part(s.path) == "pipeline" {
			continue
		}
		for _, d := range s.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && starters[name(s, fn)] != "" {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if starts(n) {
					t.Errorf("%s starts a goroutine; only pipeline does", s.at(n.Pos()))
				}
				return true
			})
		}
	}
}

// starts tells whether n is a go statement or a call of the kind group.Go(func…).
func starts(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		sel, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Go" || len(n.Args) != 1 {
			return false
		}
		_, literal := n.Args[0].(*ast.FuncLit)
		return literal
	}
	return false
}

// name is the file and function, as the keys of starters are.
func name(s source, fn *ast.FuncDecl) string { return s.path + " " + fn.Name.Name }

func TestNothingHappensAtImport(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated() {
			continue
		}
		for _, d := range s.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: an init function; register in one explicit place instead", s.at(fn.Pos()))
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated() {
			continue
		}
		if n := s.line(s.file.FileEnd); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: is it one thing?", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.line(fn.End()) - s.line(fn.Pos()) + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(fn.Pos()), fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestStartersExist(t *testing.T) {
	have := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				have[name(s, fn)] = true
			}
		}
	}
	for n := range starters {
		if !have[n] {
			t.Errorf("%q may start goroutines, but is gone", n)
		}
	}
}
