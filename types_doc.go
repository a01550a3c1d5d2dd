package wsctl

import (
	"cmp"
	goscanner "go/scanner" // not go/parser, which would make every program larger by half a megabyte
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// How types.go finds doc comments: in the Go source, if it is where the compiler found it.

// sourceDocs finds doc comments. Reflection knows the files of functions, not those of types: they are in the directory of
// what their package declares, or of the same place in the module.
type sourceDocs struct {
	files map[string]*goSource
	dirs  map[string]string             // by package path
	types map[string]map[string]typeDoc // by directory and package, and name
}

// typeDoc is what the source says of a type.
type typeDoc struct {
	text   string
	fields map[string]string
}

func newSourceDocs() *sourceDocs {
	return &sourceDocs{files: map[string]*goSource{}, dirs: map[string]string{}, types: map[string]map[string]typeDoc{}}
}

// declared returns the comment of the function at a file:line.
func (d *sourceDocs) declared(pos string) string {
	file, line := splitPos(pos)
	return d.file(file).at(token.FUNC, line)
}

// declaredAt returns the comment of the variable that is declared with a call.
func (d *sourceDocs) declaredAt(pc uintptr) string {
	f := frameOf(pc)
	return d.file(f.File).at(token.VAR, f.Line)
}

func frameOf(pc uintptr) runtime.Frame {
	f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	return f
}

// typ returns what the source says of a type.
func (d *sourceDocs) typ(typ reflect.Type) typeDoc {
	if typ.Name() == "" || typ.PkgPath() == "" {
		return typeDoc{}
	}
	d.learn(typ)
	dir := d.dirs[typ.PkgPath()]
	if dir == "" {
		dir = d.guess(typ.PkgPath())
		d.dirs[typ.PkgPath()] = dir
	}
	pkg, _, _ := strings.Cut(typ.String(), ".")
	name, _, _ := strings.Cut(typ.Name(), "[")
	return d.dir(dir, pkg)[name]
}

// learn notes the directory of a type's package, if the type has methods.
func (d *sourceDocs) learn(typ reflect.Type) {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if d.dirs[typ.PkgPath()] != "" || typ.Name() == "" {
		return
	}
	if pos := posOf(declaredMembers(&typeNode{typ: typ})); pos != "" {
		file, _ := splitPos(pos)
		d.note(typ.PkgPath(), file)
	}
}

// learnFunc notes the directory of the package that has a call.
func (d *sourceDocs) learnFunc(pc uintptr) {
	f := frameOf(pc)
	slash := strings.LastIndexByte(f.Function, '/') + 1
	pkg, _, _ := strings.Cut(f.Function[slash:], ".")
	d.note(f.Function[:slash]+pkg, f.File)
}

func (d *sourceDocs) note(pkg, file string) {
	dir := filepath.ToSlash(filepath.Dir(file))
	if !filepath.IsAbs(file) || strings.HasPrefix(dir, standardLibrary()) {
		return // what the standard library says would change with the version of Go
	}
	d.dirs[pkg] = dir
	if base, ok := strings.CutSuffix(pkg, "_test"); ok {
		d.dirs[base] = cmp.Or(d.dirs[base], dir)
	}
	if info, ok := debug.ReadBuildInfo(); ok && pkg == "main" {
		d.dirs[info.Path] = dir
	}
}

// standardLibrary is the directory that has the packages of Go, where this program was compiled.
var standardLibrary = sync.OnceValue(func() string {
	cut := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer())
	file, _ := cut.FileLine(cut.Entry())
	return filepath.ToSlash(filepath.Dir(filepath.Dir(file))) + "/"
})

// moduleOf returns the directory of the module that has a directory, or "".
func moduleOf(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// guess returns the directory of a package by that of the nearest one of its module, or "".
func (d *sourceDocs) guess(pkg string) (dir string) {
	nearest := 0
	for _, known := range slices.Sorted(maps.Keys(d.dirs)) {
		n := commonPath(known, pkg)
		root, ok := strings.CutSuffix(d.dirs[known], known[n:])
		if n <= nearest || !ok || root == "" {
			continue
		}
		s, err := os.Stat(root + pkg[n:])
		if err != nil || !s.IsDir() {
			continue
		}
		if module := moduleOf(d.dirs[known]); module != "" && module == moduleOf(root+pkg[n:]) {
			nearest, dir = n, root+pkg[n:]
		}
	}
	return dir
}

// commonPath is the length of what two paths begin with.
func commonPath(a, b string) (n int) {
	for i := 0; ; i++ {
		if endA, endB := i == len(a) || a[i] == '/', i == len(b) || b[i] == '/'; endA && endB {
			n = i
		}
		if i == len(a) || i == len(b) || a[i] != b[i] {
			return n
		}
	}
}

// dir returns what a package in a directory says of its types.
func (d *sourceDocs) dir(dir, pkg string) map[string]typeDoc {
	key := dir + " " + pkg
	if types, ok := d.types[key]; ok || dir == "" {
		return types
	}
	types := map[string]typeDoc{}
	entries, _ := os.ReadDir(dir) // not Glob: a directory may be named like a pattern
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		if f := d.file(filepath.ToSlash(filepath.Join(dir, e.Name()))); f.pkg == pkg {
			for name, doc := range f.types {
				if _, ok := types[name]; !ok {
					types[name] = doc
				}
			}
		}
	}
	d.types[key] = types
	return types
}

// file reads a file, once; one that can't be read says nothing.
func (d *sourceDocs) file(name string) *goSource {
	f := d.files[name]
	if f == nil {
		f = new(goSource)
		if filepath.IsAbs(name) {
			if src, err := os.ReadFile(name); err == nil {
				f.read(src)
			}
		}
		d.files[name] = f
	}
	return f
}

// goSource is what the comments of a Go file say.
type goSource struct {
	pkg   string
	decls []goDecl // functions and variables, in order
	types map[string]typeDoc
}

type goDecl struct {
	keyword     token.Token // FUNC or VAR
	first, last int         // lines
	doc         string
}

// at returns the comment of the function or variable that is declared at a line.
func (f *goSource) at(keyword token.Token, line int) string {
	for _, d := range f.decls {
		if d.keyword == keyword && d.first <= line && line <= d.last {
			return d.doc
		}
	}
	return ""
}

// read reads the declarations of a file.
func (f *goSource) read(src []byte) {
	f.types = map[string]typeDoc{}
	set := token.NewFileSet()
	r := &goReader{file: set.AddFile("", -1, len(src))}
	r.scanner.Init(r.file, src, nil, goscanner.ScanComments)
	r.next()
	for r.tok != token.EOF {
		keyword, doc, first := r.tok, r.doc, r.line
		r.next()
		if keyword == token.PACKAGE {
			f.pkg = r.lit
		}
		if r.tok == token.LPAREN && (keyword == token.TYPE || keyword == token.VAR) {
			for r.next(); !r.closes(); {
				f.spec(r, keyword, r.doc, r.line)
			}
			r.next()
		}
		f.spec(r, keyword, doc, first)
	}
}

// spec reads one declaration, from its name to its end.
func (f *goSource) spec(r *goReader, keyword token.Token, doc string, first int) {
	var fields map[string]string
	name := r.lit
	if keyword == token.TYPE && r.tok == token.IDENT {
		if r.next(); r.tok == token.LBRACK {
			r.next()
			r.skip() // the parameters
			r.next()
		}
		if r.tok == token.STRUCT {
			r.next()
			fields = r.fields()
			r.next()
		}
	}
	r.skip()
	last := r.line
	doc = cmp.Or(doc, r.end())
	switch keyword {
	case token.TYPE:
		f.types[name] = typeDoc{doc, fields}
	case token.FUNC, token.VAR:
		f.decls = append(f.decls, goDecl{keyword, first, last, doc})
	}
}

// goReader reads the tokens of a Go file, with the comments round them.
type goReader struct {
	scanner goscanner.Scanner
	file    *token.File
	tok     token.Token
	lit     string
	line    int
	doc     string // the comment that ends in the line before
	trail   string // the comment that began in the line of the token before
}

func (r *goReader) next() {
	before := r.line
	r.trail = ""
	var group []string
	groupEnd := 0
	for {
		var pos token.Pos
		pos, r.tok, r.lit = r.scanner.Scan()
		r.line = r.file.Line(pos)
		if r.tok != token.COMMENT {
			break
		}
		switch {
		case r.line == before:
			r.trail = commentText([]string{r.lit})
			continue
		case r.line > groupEnd+1:
			group = nil
		}
		group = append(group, r.lit)
		groupEnd = r.line + strings.Count(r.lit, "\n")
	}
	r.doc = ""
	if groupEnd == r.line-1 || groupEnd == r.line {
		r.doc = commentText(group)
	}
}

// closes reports whether something ends here.
func (r *goReader) closes() bool {
	return r.tok == token.RPAREN || r.tok == token.RBRACK || r.tok == token.RBRACE || r.tok == token.EOF
}

// skip goes on to the semicolon or bracket that ends what is being read.
func (r *goReader) skip() {
	for depth := 0; r.tok != token.EOF; r.next() {
		switch r.tok {
		case token.LPAREN, token.LBRACK, token.LBRACE:
			depth++
		case token.RPAREN, token.RBRACK, token.RBRACE:
			if depth--; depth < 0 {
				return
			}
		case token.SEMICOLON:
			if depth == 0 {
				return
			}
		}
	}
}

// end goes beyond a semicolon, and returns the comment before it, which is behind what it ends: it stands for a newline.
func (r *goReader) end() string {
	trail := r.trail
	if r.tok != token.SEMICOLON {
		return ""
	}
	r.next()
	return trail
}

// fields returns the comments of a struct's fields by their names. It ends at the closing brace.
func (r *goReader) fields() map[string]string {
	fields := map[string]string{}
	for r.next(); !r.closes(); {
		var names []string
		doc := r.doc
		for r.tok == token.IDENT {
			names = append(names, r.lit)
			if r.next(); r.tok != token.COMMA {
				break
			}
			r.next()
		}
		r.skip()
		doc = cmp.Or(doc, r.end())
		for _, name := range names {
			fields[name] = doc
		}
	}
	return fields
}

// commentText returns a comment without its marks, and without what is for tools.
func commentText(group []string) string {
	var lines []string
	for _, c := range group {
		if text, ok := strings.CutPrefix(c, "//"); ok {
			if !isDirective(text) {
				lines = append(lines, strings.TrimPrefix(text, " "))
			}
			continue
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(c, "/*"), "*/"), "\n") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t\r")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// isDirective reports whether a comment is one as //go:generate or //nolint.
func isDirective(text string) bool {
	word, _, _ := strings.Cut(text, " ")
	tool, _, ok := strings.Cut(word, ":")
	isName := tool != "" && strings.Trim(tool, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
	return isName && (ok && !strings.HasSuffix(word, ":") || tool == "nolint" || tool == "line" || tool == "export")
}
