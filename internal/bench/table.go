package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

const legend = `Medians of the rounds. CPU is the server's, user and system, for a unit: a call, a delivery, a connection.
Marks: ! the load program was saturated, so that the rate is its own; ~ others used more than 5 % of the machine's CPU time.

`

// writeTables writes a table for each part of the works that has rows.
func writeTables(out io.Writer, rows []row, works []work) {
	fmt.Fprint(out, legend)
	for _, w := range works {
		for _, one := range w.sequence() {
			for _, name := range one.names() {
				writeTable(out, rows, one, name)
			}
		}
	}
}

func writeTable(out io.Writer, rows []row, w work, name string) {
	own := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.work != name })
	if len(own) == 0 {
		return
	}
	fmt.Fprintf(out, "## %s\n\n", name)
	if w.figure == figureMemory {
		fmt.Fprintf(out, "| stack | bytes of a connection | least–most | × %s | |\n| --- | ---: | ---: | ---: | --- |\n", baseline)
	} else {
		fmt.Fprintf(out, "| stack | %s | least–most | × %s | units/s | p50 µs | p99 µs | |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
			w.figure, w.comparedWith())
	}
	for _, r := range own {
		if r.rounds == 0 {
			columns := 6
			if w.figure == figureMemory {
				columns = 3
			}
			fmt.Fprintf(out, "| %s |%s %s |\n", r.stack, strings.Repeat(" |", columns), r.remarks())
			continue
		}
		fmt.Fprintf(out, "| %s | %s | %s–%s | %s |", r.stack, number(r.figure), number(r.least), number(r.most), r.comparison(rows, w))
		if w.figure != figureMemory {
			fmt.Fprintf(out, " %.0f | %s | %s |", r.rate, number(r.p50), number(r.p99))
		}
		fmt.Fprintf(out, " %s |\n", r.remarks())
	}
	fmt.Fprintln(out)
}

// comparedWith names what the figures of w are compared with.
func (w work) comparedWith() string {
	if w.reference != nil {
		return w.reference.name
	}
	return baseline
}

// comparison is the ratio of r's figure to that which it is compared with; empty if that isn't known.
func (r row) comparison(rows []row, w work) string {
	g := goal{work: r.work, stack: r.stack, than: baseline}
	if w.reference != nil {
		g.than, g.reference = r.stack, w.reference.name
	}
	ratio, _, ok := g.ratio(rows)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%.2f", ratio)
}

// remarks are the marks of r, and what went wrong.
func (r row) remarks() string {
	var all []string
	if r.saturated {
		all = append(all, "!")
	}
	if r.noisy > 0 {
		all = append(all, "~")
	}
	if len(r.errors) > 0 {
		text := strings.NewReplacer("|", `\|`, "\n", " ").Replace(r.errors[0])
		all = append(all, fmt.Sprintf("%d of %d rounds failed: %s", len(r.errors), len(r.errors)+r.rounds, text))
	}
	return strings.Join(all, " ")
}

// String is the head of the figure's column.
func (f figure) String() string {
	switch f {
	case figureMemory:
		return "bytes of a connection"
	case figureP99:
		return "p99 µs"
	}
	return "CPU µs"
}

// number shows three digits of small ones, and all of large ones.
func number(f float64) string {
	switch {
	case f < 10:
		return fmt.Sprintf("%.2f", f)
	case f < 100:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}
