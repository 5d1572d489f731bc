package status_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"obdagent/agent/agenttest"
	"obdagent/agent/status"
)

// recalled is a van on the road whose car has something to tell.
func recalled() status.Snapshot {
	s := driving()
	s.Car.MIL, s.Car.DTCs = ptr(true), []string{"P0420", "P0171"}
	s.Config = status.Config{RestartNeeded: []string{"uplink.stream"}, Refused: "a mistake"}
	return s
}

func metricsOf(t *testing.T, s status.Snapshot) string {
	t.Helper()
	var b strings.Builder
	judged(&s)
	if err := s.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMetricsAreAsTheGoldenFilesSay(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]status.Snapshot{"driving": recalled(), "troubled": troubled()} {
		golden(t, name+".prom", metricsOf(t, s))
	}
}

// TestPrometheusReadsTheMetrics has the Prometheus project's own parser for Python read them.
func TestPrometheusReadsTheMetrics(t *testing.T) {
	t.Parallel()
	const read = `
import sys
from prometheus_client.parser import text_string_to_metric_families
for f in text_string_to_metric_families(sys.stdin.read()):
    for s in f.samples:
        print(s.name, f.type, s.labels, s.value)
`
	s := troubled()
	s.Version = `v1 "quoted" \ and` + "\nbroken"
	c := exec.CommandContext(t.Context(), agenttest.Python(t, "prometheus_client"), "-c", read)
	c.Stdin = strings.NewReader(metricsOf(t, s))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`obdagent_info gauge {'version': 'v1 "quoted" \\ and\nbroken'} 1.0`,
		`obdagent_buffer_lost_records_total counter {'reason': 'overflow'} 1200.0`,
		`obdagent_uplink_state gauge {'state': 'refused'} 1.0`,
		`obdagent_records_refused_total counter {} 4.0`,
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

// TestEachMetricIsNamedAndDocumented by the conventions of Prometheus, and keeps docs/metrics.md the list of them.
func TestEachMetricIsNamedAndDocumented(t *testing.T) {
	t.Parallel()
	all := status.Metrics()
	if len(all) < 40 {
		t.Errorf("%d metrics", len(all))
	}
	var doc strings.Builder
	doc.WriteString(metricsHead)
	seen := map[string]bool{}
	for _, m := range all {
		counts := strings.HasSuffix(m.Name, "_total")
		if seen[m.Name] || !regexp.MustCompile(`^obdagent(_[a-z]+)+$`).MatchString(m.Name) || counts != (m.Type == "counter") || !counts && m.Type != "gauge" {
			t.Errorf("%s of type %s", m.Name, m.Type)
		}
		seen[m.Name] = true
		if m.NonZero == "" || !strings.HasSuffix(m.Help, ".") || strings.ContainsAny(m.Help+m.NonZero, "|\n\\") {
			t.Errorf("%s: %q, %q", m.Name, m.Help, m.NonZero)
		}
		name := m.Name
		if m.Label != "" {
			name += "{" + m.Label + "}"
		}
		fmt.Fprintf(&doc, "| `%s` | %s | %s | %s |\n", name, m.Type, m.Help, m.NonZero)
	}
	golden(t, filepath.Join("..", "..", "..", "docs", "metrics.md"), doc.String())
	// Each is told by one of the two, so that none is a name alone.
	told := metricsOf(t, recalled()) + metricsOf(t, troubled())
	for name := range seen {
		if !regexp.MustCompile("(?m)^" + name + `[ {]`).MatchString(told) {
			t.Errorf("%s is never told", name)
		}
	}
}

const metricsHead = `# Metrics

<!-- Written by: go test ./agent/status -update -->

With ` + "`status.listen = \"127.0.0.1:8327\"`" + ` the agent serves these at ` + "`/metrics`" + `, in Prometheus' text format. They render the same snapshot as
` + "`obdagent status`" + `. What is not known is not told: no speed is no line, not 0. Counters begin at 0 with each start, those of the car and the
receiver also when a reload opens their port again. Speeds are in km/h, as everywhere in obdagent.

An alarm worth having: ` + "`obdagent_state{state=\"degraded\"} == 1`" + ` for 10 minutes, with ` + "`obdagent_faults`" + ` as its text; and no scrape at all.

| metric | type | what it is | what a value other than 0 means |
|---|---|---|---|
`
