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
	for _, s := range stacks {
		info, err := buildinfo.ReadFile(b.program(s))
		if err != nil {
			return "", err
		}
		if s.module == "" {
			if s.program == "wsctl" && !slices.ContainsFunc(all, func(v string) bool { return strings.HasPrefix(v, "wsctl") }) {
				all = append(all, "wsctl "+revision(info))
			}
			continue
		}
		for _, m := range info.Deps {
			if m.Path == s.module {
				all = append(all, s.module+" "+m.Version)
			}
		}
	}
	return strings.Join(all, ", "), nil
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
