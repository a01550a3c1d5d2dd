package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// build makes the load program and the servers of the stacks.
func (b *bench) build(ctx context.Context, stacks []stack) error {
	if err := goBuild(ctx, filepath.Join(b.programs, "load"), "", "./load"); err != nil {
		return err
	}
	if slices.ContainsFunc(stacks, func(s stack) bool { return s.broker != "" }) {
		if err := goBuild(ctx, b.brokerProgram(), "", "./servers/broker"); err != nil {
			return err
		}
	}
	var built []string
	for _, s := range stacks {
		program := b.program(s)
		if slices.Contains(built, program) {
			continue
		}
		built = append(built, program)
		if err := goBuild(ctx, program, s.tags, "./servers/"+s.program); err != nil {
			return err
		}
	}
	return nil
}

func goBuild(ctx context.Context, program, tags, folder string) error {
	if out, err := exec.CommandContext(ctx, "go", "build", "-buildvcs=auto", "-tags", tags, "-o", program, folder).CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", folder, err, out)
	}
	return nil
}

// versions says which version of its library each of the stacks has.
func (b *bench) versions(stacks []stack) (string, error) {
	var all []string
	add := func(version string) {
		if !slices.Contains(all, version) {
			all = append(all, version)
		}
	}
	for _, s := range stacks {
		info, err := buildinfo.ReadFile(b.program(s))
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(s.program, "wsctl") {
			add("wsctl " + revision(info))
		}
		add(version(info, s.module))
		if s.broker == "" {
			continue
		}
		if info, err = buildinfo.ReadFile(b.brokerProgram()); err != nil {
			return "", err
		}
		if s.broker == "redis" {
			add(redisVersion())
		} else {
			add(version(info, "github.com/nats-io/nats-server/v2"))
		}
	}
	return strings.Join(slices.DeleteFunc(all, func(v string) bool { return v == "" }), ", "), nil
}

// version is that of a module in a program; empty if it has none.
func version(info *buildinfo.BuildInfo, module string) string {
	for _, m := range info.Deps {
		if m.Path == module {
			return module + " " + m.Version
		}
	}
	return ""
}

// redisVersion is what the installed redis-server says of itself; empty if there is none, as its stacks will tell.
func redisVersion() string {
	out, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return ""
	}
	for field := range strings.FieldsSeq(string(out)) {
		if v, ok := strings.CutPrefix(field, "v="); ok {
			return "redis-server " + v
		}
	}
	return ""
}

// revision is the commit that a program was built from.
func revision(info *buildinfo.BuildInfo) string {
	commit, more := "of an unknown commit", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			commit = setting.Value[:min(len(setting.Value), 12)]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			more = " with changes"
		}
	}
	return commit + more
}
