package wsctl_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/wsctl/wsctl"
)

const commented = `// Package p is no type.
package p

import "x" // of the import

// Not of T: there is a line between.

// T is a type.
//
//	code
` + "//go:" + `generate tool
//nolint:all
type T[A any, B interface{ ~[]A }] struct {
	// A and B are two.
	A, B int
	C    string // is C
	D    struct {
		// Inner is of D.
		Inner int
	} // is D
	/* E is
	   long. */
	E func(a int, // not E
		b int) (c int)
	*F
	p.G // is embedded
	H   [2]int ` + "`json:\"h // ;}\"`" + ` // is H; of a tag}
	I   int

	// nothing more
}

type (
	// U is in a group.
	U int
	V = struct{ A int } // is V
	W []struct{ A int }
)

type X [5]struct {
	// A is no field of X.
	A int
}

// M is a method.
func (t *T[A, B]) M(f func()) (err error) {
	// not of anything
	type T int
	var v = func() { return }
	return
}

func N() {} // is N

// Q is a variable.
var Q = New(
	1,
)

var (
	// R is one.
	R = New(1)
	S = New(1) // is S
)
var Z int`

func TestGoComments(t *testing.T) {
	at, typ, field := wsctl.GoComments([]byte(commented))
	for name, want := range map[string]string{
		"T": "T is a type.\n\n\tcode", "U": "U is in a group.", "V": "is V", "W": "", "X": "", "p": "",
	} {
		if got := typ(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"T.A": "A and B are two.", "T.B": "A and B are two.", "T.C": "is C", "T.D": "is D", "T.E": "E is\nlong.", "T.F": "", "T.Inner": "",
		"T.H": "is H; of a tag}", "T.I": "", "V.A": "",
	} {
		owner, name, _ := strings.Cut(name, ".")
		if got := field(owner, name); got != want {
			t.Errorf("%s.%s: got %q, want %q", owner, name, got, want)
		}
	}
	for _, test := range []struct {
		keyword    token.Token
		text, want string
	}{
		{token.FUNC, "func (t", "M is a method."}, {token.FUNC, "func N", "is N"}, {token.VAR, "var Q", "Q is a variable."},
		{token.VAR, "\t1,", "Q is a variable."}, {token.VAR, "\tR = New", "R is one."}, {token.VAR, "\tS = New", "is S"},
		{token.VAR, "var Z", ""}, {token.FUNC, "package", ""}, {token.FUNC, "var Q", ""},
		{token.VAR, "\tvar v", ""}, // no event that is made in a function has the function's comment
	} {
		before, _, ok := strings.Cut(commented, "\n"+test.text)
		if got := at(test.keyword, strings.Count(before, "\n")+2); !ok || got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

// TestGoCommentsOfParser compares the comments of real files with those that go/parser finds.
func TestGoCommentsOfParser(t *testing.T) {
	const want = 1000 // comments at least, else there is something wrong with the test
	files, compared := 0, 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(name, ".go") {
			files++
			compared += compareComments(t, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d comments of %d files", compared, files); compared < want {
		t.Errorf("%d comments, want %d", compared, want)
	}
}

var blankLines = regexp.MustCompile(`\n\n+`)

// compareComments returns how many comments it has compared.
func compareComments(t *testing.T, name string) (n int) {
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, parser.ParseComments)
	if err != nil {
		return 0
	}
	at, typ, field := wsctl.GoComments(src)
	compare := func(what, got string, groups ...*ast.CommentGroup) {
		want := ""
		for _, g := range groups {
			if want == "" {
				want = strings.TrimRight(g.Text(), "\n")
			}
		}
		if strings.Contains(want, "*/") || strings.Contains(got, "/*") {
			return
		}
		n++
		got = blankLines.ReplaceAllString(got, "\n\n")
		if squeeze(got) != squeeze(want) {
			t.Errorf("%s: %s:\n got %q\nwant %q", name, what, got, want)
		}
	}
	line := func(p token.Pos) int { return set.Position(p).Line }
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil {
				compare(d.Name.Name, at(token.FUNC, line(d.Pos())), d.Doc)
				compare(d.Name.Name, at(token.FUNC, line(d.End())), d.Doc)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					if d.Tok == token.VAR {
						compare(s.Names[0].Name, at(token.VAR, line(s.Pos())), s.Doc, ungrouped(d), s.Comment)
					}
				case *ast.TypeSpec:
					compare(s.Name.Name, typ(s.Name.Name), s.Doc, ungrouped(d), s.Comment)
					if st, ok := s.Type.(*ast.StructType); ok {
						for _, f := range st.Fields.List {
							for _, id := range f.Names {
								if id.Name != "_" {
									compare(s.Name.Name+"."+id.Name, field(s.Name.Name, id.Name), f.Doc, f.Comment)
								}
							}
						}
					}
				}
			}
		}
	}
	return n
}

// ungrouped is the comment of a declaration that is no group.
func ungrouped(d *ast.GenDecl) *ast.CommentGroup {
	if d.Lparen.IsValid() {
		return nil
	}
	return d.Doc
}

// squeeze leaves out white space, which comments between /* and */ are indented with.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// A file whose path isn't absolute is that of a program built with -trimpath, and may be any here.
func TestCommentsOfTrimmedPath(t *testing.T) {
	before, _, _ := strings.Cut(commented, "\n// M is")
	name := filepath.Join(t.TempDir(), "commented.go")
	if err := os.WriteFile(name, []byte(commented), 0o666); err != nil {
		t.Fatal(err)
	}
	pos := fmt.Sprintf(":%d", strings.Count(before, "\n")+3)
	if got := wsctl.CommentAt(filepath.ToSlash(name) + pos); got != "M is a method." {
		t.Errorf("got %q", got)
	}
	t.Chdir(filepath.Dir(name))
	for _, name := range []string{"commented.go", "missing.go", "", filepath.Join(filepath.ToSlash(t.TempDir()), "missing.go")} {
		if got := wsctl.CommentAt(name + pos); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// FuzzGoComments reads anything.
func FuzzGoComments(f *testing.F) {
	f.Add([]byte(commented))
	f.Add([]byte("type ( T struct { ) ] } } var ( a"))
	f.Add([]byte("type T[ struct {{{ ( func"))
	f.Fuzz(func(t *testing.T, src []byte) {
		at, typ, field := wsctl.GoComments(src)
		_, _, _ = at(token.FUNC, 1), typ("T"), field("T", "A")
	})
}

// Where the checkout lies makes no difference, and what is beside it isn't looked at.
func TestSourceDirectories(t *testing.T) {
	root := filepath.ToSlash(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, module := range []string{"src/app", "src/github.com/me/app", "src/github.com/you/lib"} {
		write(module+"/go.mod", "module x\n")
		write(module+"/a.go", "package a\n")
		write(module+"/sub/b.go", "// T is commented.\npackage b\n\n// T is T.\ntype T int\n")
	}
	write("[ab]c/x.go", "package x\n\n// T is T.\ntype T int\n")
	mine := map[string]string{"app": root + "/src/app/a.go", "github.com/me/app": root + "/src/github.com/me/app/a.go"}
	for pkg, want := range map[string]string{
		"app":                    root + "/src/app", // no package of Go's
		"app/sub":                root + "/src/app/sub",
		"github.com/me/app/sub":  root + "/src/github.com/me/app/sub",
		"github.com/you/lib":     "", // of another version, perhaps
		"github.com/you/lib/sub": "",
		"strings":                "",
	} {
		if got := wsctl.DirOf(mine, pkg); got != want {
			t.Errorf("%s: %s, want %s", pkg, got, want)
		}
	}
	cut := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer())
	file, _ := cut.FileLine(cut.Entry())
	if got := wsctl.DirOf(map[string]string{"strings": file}, "strings"); got != "" {
		t.Errorf("Go's own comments are taken from %s", got)
	}
	if got := wsctl.TypesIn(root+"/[ab]c", "x"); !slices.Equal(got, []string{"T"}) {
		t.Errorf("found %q", got)
	}
}
