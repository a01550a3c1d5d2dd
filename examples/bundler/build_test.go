package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBuild does what main.go's comment says, on a copy: node_modules in here would be searched for Go packages.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: installs from a registry")
	}
	if _, err := os.Stat("../../js/package.json"); err != nil {
		t.Skip("SKIP: this is a copy of the example, with a client from elsewhere")
	}
	dir := copyOfProject(t)
	if out, err := npm(t, dir, "view", "--fetch-retries=0", "vite", "version"); err != nil {
		t.Skipf("SKIP: npm is missing, or can't reach its registry: %v %.200s", err, out)
	}
	if out, err := npm(t, dir, "install", "--no-audit", "--no-fund"); err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
	if out, err := npm(t, dir, "run", "build"); err != nil {
		t.Fatalf("npm run build: %v\n%s", err, out)
	}

	t.Run("serves it", func(t *testing.T) { testServes(t, filepath.Join(dir, "web/dist")) })

	t.Run("mistakes don't compile", func(t *testing.T) {
		file := filepath.Join(dir, "web/src/main.ts")
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mistakes := []string{
			`client.call('rol', dice());`,
			`client.call('roll', { count: 1 });`,
			`client.send('roll', dice());`,
			`client.on('rold', () => {});`,
			`client.on('rolled', (theirs) => theirs.sum);`,
			`client.stream('roll', dice());`,
		}
		if err := os.WriteFile(file, append(page, strings.Join(mistakes, "\n")...), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := npm(t, dir, "exec", "--", "tsc", "--noEmit")
		if err == nil {
			t.Error("they do")
		}
		for i, mistake := range mistakes {
			line := strings.Count(string(page), "\n") + 1 + i
			if !strings.Contains(out, fmt.Sprintf("web/src/main.ts(%d,", line)) {
				t.Errorf("%s compiles:\n%s", mistake, out)
			}
		}
	})
}

// testServes checks that the server serves what was built, with the client in it.
func testServes(t *testing.T, dist string) {
	srv, _ := newServer(os.DirFS(dist))
	ts := httptest.NewServer(srv.Handler)
	defer ts.Close()
	get := func(path string) (string, http.Header) {
		res, err := http.Get(ts.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %s %v", path, res.Status, err)
		}
		return string(body), res.Header
	}
	index, _ := get("/")
	script := regexp.MustCompile(`<script type="module"[^>]* src="(/assets/[^"]+\.js)"></script>`).FindStringSubmatch(index)
	if script == nil {
		t.Fatalf("no script in\n%s", index)
	}
	if style := regexp.MustCompile(`href="(/assets/[^"]+\.css)"`).FindStringSubmatch(index); style == nil {
		t.Errorf("no style sheet in\n%s", index)
	} else {
		get(style[1])
	}
	bundle, header := get(script[1])
	if typ := header.Get("Content-Type"); !strings.HasPrefix(typ, "text/javascript") {
		t.Errorf("%s has the type %s", script[1], typ)
	}
	// A name of the wire stands for the client, one of the controller for the page. Nothing is left to be loaded.
	for _, part := range []string{"wsctl.v1", "roll", "odds"} {
		if !strings.Contains(bundle, part) {
			t.Errorf("there is no %s in the bundle", part)
		}
	}
	if left := regexp.MustCompile(`\bimport\s*[({"'*\w]|\bfrom\s*["']`).FindString(bundle); left != "" {
		t.Errorf("the bundle imports: %s", left)
	}
}

// copyOfProject returns a folder like this one, with the client where package.json expects it.
func copyOfProject(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{
		"js/package.json", "js/dist",
		"examples/bundler/package.json", "examples/bundler/.npmrc", "examples/bundler/tsconfig.json",
		"examples/bundler/vite.config.ts", "examples/bundler/web/index.html", "examples/bundler/web/public",
		"examples/bundler/web/src",
	} {
		from, to := filepath.Join("../..", name), filepath.Join(root, name)
		info, err := os.Stat(from)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			err = os.CopyFS(to, os.DirFS(from))
		} else {
			var data []byte
			data, err = os.ReadFile(from)
			err = errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "examples/bundler")
}

// npm runs it in dir.
func npm(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
