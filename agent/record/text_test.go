package record_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"obdagent/agent/record"
)

// flat is a JSON value as the text format writes it.
func flat(v any) string {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r <= ' ' || r == '"' || r == 0x7f {
				return '_'
			}
			return r
		}, s)
	}
	switch v := v.(type) {
	case nil:
		return "NaN"
	case string:
		return clean(v)
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			if lost, ok := x.(map[string]any); ok {
				parts[i] = fmt.Sprintf("%v-%v:%v", lost["from"], lost["to"], clean(lost["reason"].(string)))
				continue
			}
			parts[i] = flat(x)
		}
		return strings.Join(parts, ",")
	}
	panic(fmt.Sprintf("%T", v))
}

func TestBothFormatsTellTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := genRecord(t)
		names := rapid.Permutation(record.FieldNames()).Draw(t, "order")
		names = names[:rapid.IntRange(1, len(names)).Draw(t, "columns")]
		f, err := record.NewTextFormat(names)
		if err != nil {
			t.Fatal(err)
		}
		line := string(f.Append(nil, &r))
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("not one line: %q", line)
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(columns) != len(names) {
			t.Fatalf("%d columns of %d fields: %q", len(columns), len(names), line)
		}
		fields := map[string]any{}
		d := json.NewDecoder(strings.NewReader(string(r.AppendJSON(nil))))
		d.UseNumber()
		if err := d.Decode(&fields); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			if object, ok := fields[name].(map[string]any); ok {
				// extra: name=value, in the order of the names
				for _, part := range strings.Split(columns[i], ",") {
					key, value, _ := strings.Cut(part, "=")
					if object[key] != json.Number(value) {
						t.Fatalf("%s has %q as text, %v as JSON", name, part, object[key])
					}
				}
				continue
			}
			if want := flat(fields[name]); columns[i] != want {
				t.Fatalf("%s is %q as text, %q as JSON", name, columns[i], want)
			}
		}
	})
}
