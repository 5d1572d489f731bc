package status_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"obdagent/agent/status"
)

// jsonKeys are the keys of a type's JSON, nested ones with dots.
func jsonKeys(t reflect.Type, prefix string) (keys []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return jsonKeys(t.Elem(), prefix)
	case reflect.Struct:
		if t.PkgPath() == "time" {
			return nil
		}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			keys = append(append(keys, prefix+name), jsonKeys(f.Type, prefix+name+".")...)
		}
	}
	return keys
}

// TestThePageOfTheStatusHasEveryKey: docs/status.md is the contract of --json and of the status log.
func TestThePageOfTheStatusHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(string(text), -1) {
		for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			documented[key[1]] = true
		}
	}
	known := map[string]bool{}
	for _, key := range jsonKeys(reflect.TypeFor[status.Snapshot](), "") {
		known[key] = true
		if !documented[key] {
			t.Errorf("docs/status.md does not say what %s is in --json", key)
		}
	}
	// Of the log: whatever a line of the golden files has.
	for _, name := range []string{"driving", "troubled", "starting"} {
		line, err := os.ReadFile("testdata/" + name + ".log")
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range regexp.MustCompile(`(?:^| )([a-z_]+)=`).FindAllStringSubmatch(string(line), -1) {
			name := regexp.MustCompile(`^(fail|lost)_.*`).ReplaceAllString(key[1], "${1}_REASON")
			if !documented[name] {
				t.Errorf("docs/status.md does not say what %s is in the status log", name)
			}
		}
	}
}
