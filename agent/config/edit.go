package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// Edit returns the text of a file with some keys of type text set, such as obd.port, and all else as it was: comments, order, blanks.
// name is what messages call the file. The error says what cannot be done so, which is then for an editor.
func Edit(name string, text []byte, set map[string]string) ([]byte, error) {
	was, err := Parse(name, text, nil)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\n"
	}
	want := *was
	for i := range keys { // in the order of the file, whatever the order of the map
		k := &keys[i]
		value, ok := set[k.name]
		if !ok {
			continue
		}
		if problem := k.set(&want, value); problem != "" {
			return nil, fmt.Errorf("%s: %s", k.name, problem)
		}
		lines = edit(lines, was.origins[k.name].Line, k.name, value)
		if was, err = Parse(name, []byte(strings.Join(lines, "")), nil); err != nil {
			break
		}
	}
	is := was
	if err != nil || !sameValues(is, &want) {
		return nil, errors.Join(fmt.Errorf("%s is written in a way that cannot be edited line by line: set %s by hand", name, strings.Join(changes(set), " and ")), err)
	}
	return []byte(strings.Join(lines, "")), nil
}

func changes(set map[string]string) (all []string) {
	for i := range keys {
		if value, ok := set[keys[i].name]; ok {
			all = append(all, keys[i].name+" = "+quote(value))
		}
	}
	return all
}

// edit sets a key in the line that has it, else at its commented place in its section, else at the section's head, else in a section of
// its own.
func edit(lines []string, line int, name, value string) []string {
	dot := strings.LastIndexByte(name, '.')
	section, key := name[:dot], name[dot+1:]
	setting := key + " = " + quote(value) + "\n"
	if line > 0 {
		before, _, _ := strings.Cut(lines[line-1], "=")
		lines[line-1] = strings.TrimRight(before, " \t") + " = " + quote(value) + comment(lines[line-1]) + "\n"
		return lines
	}
	header := regexp.MustCompile(`^\s*\[\s*` + regexp.QuoteMeta(section) + `\s*\]\s*(#.*)?\r?\n$`)
	anyHeader := regexp.MustCompile(`^\s*\[`)
	commented := regexp.MustCompile(`^\s*#\s*` + regexp.QuoteMeta(key) + `\s*=`)
	at := -1
	for i, l := range lines {
		switch {
		case header.MatchString(l):
			at = i + 1
		case at < 0:
		case anyHeader.MatchString(l):
			return insert(lines, at, setting)
		case commented.MatchString(l):
			lines[i] = setting
			return lines
		}
	}
	if at >= 0 {
		return insert(lines, at, setting)
	}
	return append(lines, "\n", "["+section+"]\n", setting)
}

func insert(lines []string, at int, line string) []string {
	return append(lines[:at:at], append([]string{line}, lines[at:]...)...)
}

// comment is what stands behind the value of a line, where that is a text in one pair of quotes.
func comment(line string) string {
	behind := regexp.MustCompile(`=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')(\s*#.*?)\s*$`).FindStringSubmatch(line)
	if behind == nil {
		return ""
	}
	return behind[1]
}

// sameValues tells whether two configurations have the same values, wherever they come from.
func sameValues(a, b *Config) bool {
	for i := range keys {
		if !reflect.DeepEqual(keys[i].get(a), keys[i].get(b)) {
			return false
		}
	}
	return len(a.OBD.PID) == len(b.OBD.PID)
}
