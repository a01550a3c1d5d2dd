package wsctltest

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
)

// memory is a node of a Broker as the suite wants it.
type memory struct{ *Broker }

func (m memory) Away(*testing.T) (back func()) {
	m.Cut()
	return m.Reconnect
}

func (m memory) Forget(*testing.T) { m.Broker.Forget() }

// opener returns an open for the nodes of one broker, each of which wrap makes something of.
func opener(wrap func(t *testing.T, m memory) wsctl.Broker) func(t *testing.T) wsctl.Broker {
	b := NewBroker()
	return func(t *testing.T) wsctl.Broker { return wrap(t, memory{b.Node()}) }
}

func TestSuiteOfMemoryBroker(t *testing.T) {
	TestBroker(t, opener(func(_ *testing.T, m memory) wsctl.Broker { return m }))
}

// mutant is a broker with a fault, and the subtests that must fail by it. Empty: it is sound, and all pass.
type mutant struct {
	name  string
	fails string
	wrap  func(t *testing.T, m memory) wsctl.Broker
}

func (m mutant) concerns(test brokerTest) bool {
	return m.fails == "" || slices.Contains(strings.Fields(m.fails), test.name)
}

// runMutants runs the suite on brokers with faults, and fails where it finds them.
func runMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			s := &brokerSuite{open: opener(m.wrap)}
			for _, test := range brokerTests {
				if m.concerns(test) {
					t.Run(test.name, func(t *testing.T) {
						skipped := false
						synctest.Test(t, func(t *testing.T) {
							defer func() { skipped = t.Skipped() }()
							test.run(t, s)
						})
						if skipped {
							t.SkipNow()
						}
					})
				}
			}
		})
	}
}

// TestSuiteFindsFaults shows that the suite finds each fault, in each of the subtests that are about it. It runs itself in a process of
// its own, where the brokers with faults fail.
func TestSuiteFindsFaults(t *testing.T) {
	if os.Getenv("WSCTLTEST_MUTANTS") != "" {
		runMutants(t)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestSuiteFindsFaults$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "WSCTLTEST_MUTANTS=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the process of the mutants: %v\n%s", err, out)
	}
	results := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): TestSuiteFindsFaults/(\S+) `).FindAllStringSubmatch(string(out), -1) {
		results[m[2]] = m[1]
	}
	for _, m := range mutants {
		want := "FAIL"
		if m.fails == "" {
			want = "PASS"
		}
		for _, test := range brokerTests {
			if !m.concerns(test) {
				continue
			}
			want := want
			if m.name == "no history" && (strings.HasPrefix(test.name, "History") || test.name == "Away") || m.name == "not connected" && test.name == "Nodes" {
				want = "SKIP"
			}
			if got := results[strings.ReplaceAll(m.name, " ", "_")+"/"+test.name]; got != want {
				t.Errorf("a broker with the fault %q: %s is %q, want %s", m.name, test.name, got, want)
			}
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
