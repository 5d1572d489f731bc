package main

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/awslabs/goformation/v7/cloudformation/athena"

	"obdagent/agent/agenttest"
	"obdagent/deploy/cloud/queries"
)

// TestTrinosGrammarTakesEveryQuery: what is sent to Athena, what the template saves there, and what docs/scale.md tells to run are SQL to
// Trino's grammar. It refuses what DuckDB alone knows, or it would prove nothing.
func TestTrinosGrammarTakesEveryQuery(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "trino")
	var names, statements []string
	add := func(name, sql string) { names, statements = append(names, name), append(statements, sql) }
	foreign := []string{"SELEC 1", "SELECT vin FROM t QUALIFY row_number() OVER (ORDER BY vin) = 1", "SELECT vin::bigint FROM t", "SELECT 1 FROM", "FROM t"}
	for _, sql := range foreign {
		add(sql, sql)
	}
	for _, name := range queries.Names() {
		for kind, q := range map[string]queries.Query{
			"whole": {}, "filtered": {Table: `"obdagent"."delivered"`, Gap: time.Minute, VINs: []string{"O'Hara", ""}, From: time.UnixMilli(5), To: time.UnixMilli(7), Day: "2026/11/22"},
		} {
			q.Name, q.Engine = name, queries.Athena
			sql, err := q.SQL()
			if err != nil {
				t.Fatal(err)
			}
			add(name+", "+kind, sql)
		}
	}
	saved := 0
	for name, r := range deployed(t, nil).resources {
		if q, ok := r.(*athena.NamedQuery); ok {
			saved++
			add("the template's "+name, q.QueryString)
		}
	}
	page, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		told++
		add("docs/scale.md", block[1])
	}
	if saved != len(queries.Names()) || told == 0 {
		t.Errorf("%d saved queries, %d of docs/scale.md", saved, told)
	}
	for i, errors := range agenttest.TrinoSyntax(t, statements) {
		if refused := len(errors) > 0; refused != slices.Contains(foreign, names[i]) {
			t.Errorf("%s: refused %v: %+v", names[i], refused, errors)
		}
	}
}
