package config

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// A Key describes one key of the file, for documentation and tools.
type Key struct {
	Name    string // with its section, such as uplink.iot.thing
	Env     string // the variable that sets it
	Type    string // text, whole number, number, duration, size, true or false, list of texts
	Default string // as TOML; empty: not set
	Meaning string // one line
	Live    bool   // whether a change takes effect while the agent runs, on SIGHUP; else with the next start
}

// Keys returns all keys in the order of the file. [[obd.pid]], which holds a list, is not among them.
func Keys() []Key {
	d := Default()
	list := make([]Key, len(keys))
	for i := range keys {
		k := &keys[i]
		list[i] = Key{Name: k.name, Env: k.env(), Type: string(k.kind), Meaning: k.meaning, Live: Live(k.name)}
		if v := k.get(&d); v != nil {
			list[i].Default = formatValue(v)
		}
	}
	return list
}

// Show writes the values in effect as a TOML file that Parse reads again, each with its origin as a comment. Nothing in it is
// secret.
func (c *Config) Show(w io.Writer) error {
	type line struct{ setting, comment string }
	var lines []line
	section := ""
	for i := range keys {
		k := &keys[i]
		v := k.get(c)
		if v == nil {
			continue
		}
		dot := strings.LastIndexByte(k.name, '.')
		if s := k.name[:dot]; s != section {
			if section != "" {
				lines = append(lines, line{})
			}
			section = s
			lines = append(lines, line{setting: "[" + s + "]"})
		}
		lines = append(lines, line{k.name[dot+1:] + " = " + formatValue(v), c.origins[k.name].String()})
	}
	for _, p := range c.OBD.PID {
		lines = append(lines, line{}, line{"[[" + pidSection + "]]", p.origin.String()},
			line{setting: "name = " + quote(p.Name)}, line{setting: "request = " + quote(p.Request)},
			line{setting: fmt.Sprintf("bytes = %d", p.Bytes)}, line{setting: "formula = " + quote(p.Formula)},
			line{setting: "unit = " + quote(p.Unit)}, line{setting: "min = " + formatValue(p.Min)},
			line{setting: "max = " + formatValue(p.Max)}, line{setting: "period = " + formatValue(p.Period)})
	}
	// Comments stand in one column, but for the few lines that are longer.
	const widest = 48
	column := 0
	for _, l := range lines {
		if l.comment != "" && len(l.setting) <= widest {
			column = max(column, len(l.setting))
		}
	}
	var out bytes.Buffer
	for _, l := range lines {
		if l.comment == "" {
			fmt.Fprintln(&out, l.setting)
		} else {
			fmt.Fprintf(&out, "%-*s  # %s\n", column, l.setting, oneLine(l.comment))
		}
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("show config: %w", err)
	}
	return nil
}

// oneLine keeps a file's name with a control character in it from ending the comment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
