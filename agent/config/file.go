package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// readFile takes the file's text apart and sets what it says. It reports whether the text could be read at all.
//
// The document is read twice: by the decoder, which knows all rules of TOML (no key twice, no table made anew), and by the
// parser, which knows where each key stands. Decoding into a struct would stop at the first wrong type and forget the places.
func (b *builder) readFile(text []byte) bool {
	whole := func(line, column int, message string) bool {
		b.errors = append(b.errors, Error{File: b.file, Line: line, Column: column, Message: message})
		return false
	}
	if len(text) > maxFileBytes {
		return whole(0, 0, fmt.Sprintf("is larger than %d KiB; this is not a config file", maxFileBytes>>10))
	}
	// A byte order mark, as editors on Windows write it, is not TOML; it takes no column on a screen.
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))

	var document map[string]any
	if err := toml.Unmarshal(text, &document); err != nil {
		var at *toml.DecodeError
		if !errors.As(err, &at) {
			return whole(0, 0, err.Error())
		}
		line, column := at.Position()
		return whole(line, column, "not TOML: "+strings.TrimPrefix(at.Error(), "toml: "))
	}
	w := walker{builder: b, lines: lineStarts(text)}
	w.parser.Reset(text)
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
		if len(b.errors) >= maxErrors {
			return whole(0, 0, fmt.Sprintf("has more than %d problems; the rest is not listed", maxErrors-1))
		}
	}
	if err := w.parser.Error(); err != nil {
		return whole(0, 0, "not TOML: "+err.Error()) // not reached: the decoder has read the same text
	}
	w.endPID()
	return true
}

// maxErrors bounds what is listed: more than a person reads, and a bound on the work that a file of another kind makes.
const maxErrors = 100

// A walker goes over a document's expressions, top to bottom.
type walker struct {
	*builder
	parser  unstable.Parser
	lines   []int    // offset of each line
	section []string // of the last header
	skip    bool     // the section is unknown and was reported: its keys are not
	pid     *PID     // the [[obd.pid]] that is being read
	pidBad  bool     // it has a problem that was reported
}

// place is where a key stands, from 1; columns count bytes, as the decoder's do.
func (w *walker) place(keyNode *unstable.Node) (line, column int) {
	// The parser's own Shape counts from the start of the text each time.
	offset := int(keyNode.Raw.Offset)
	line, found := slices.BinarySearch(w.lines, offset)
	if found {
		line++
	}
	return line, offset - w.lines[line-1] + 1
}

func lineStarts(text []byte) []int {
	starts := []int{0}
	for i, c := range text {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// report appends a problem with line and column: one of the key itself rather than of its value.
func (w *walker) report(line, column int, name, message string) {
	w.errors = append(w.errors, Error{File: w.file, Line: line, Column: column, Key: name, Message: message})
}

func (w *walker) expression(e *unstable.Node) {
	switch e.Kind {
	case unstable.Table, unstable.ArrayTable:
		w.endPID()
		w.header(e)
	case unstable.KeyValue:
		if !w.skip {
			w.keyValue(w.section, e)
		}
	}
}

// header handles [section] and [[section]].
func (w *walker) header(e *unstable.Node) {
	path, first := keyPath(e)
	name := join(path)
	line, column := w.place(first)
	w.section, w.skip = path, true
	isArray := e.Kind == unstable.ArrayTable
	switch {
	case name == pidSection && isArray:
		w.skip = false
		w.startPID(line)
	case name == pidSection:
		w.report(line, column, name, "is a list of sections; write it as [[obd.pid]]")
	case isSection(name) && isArray:
		w.report(line, column, name, "is one section; write it as ["+name+"]")
	case isSection(name):
		w.skip = false
		w.enter(name, line)
	case findKey(name) != nil:
		w.report(line, column, name, "is a key and not a section; write it as "+example(findKey(name)))
	default:
		w.report(line, column, name, unknownSection(name))
		return
	}
}

// enter notes that a section is there.
func (w *walker) enter(name string, line int) {
	if name == curveSection && w.config.Record.Curve == nil {
		v := defaultCurve
		w.config.Record.Curve = &v
		w.origins[name] = Origin{File: w.file, Line: line}
	}
}

func (w *walker) keyValue(prefix []string, e *unstable.Node) {
	rest, first := keyPath(e)
	path := slices.Concat(prefix, rest)
	name, value := join(path), e.Value()
	line, column := w.place(first)
	if w.pid != nil {
		w.pidKey(strings.TrimPrefix(name, pidSection+"."), line, column, value)
		return
	}
	if name == pidSection {
		w.pidList(line, column, value)
		return
	}
	if k := findKey(name); k != nil {
		if len(rest) > 1 {
			w.enter(join(path[:len(path)-1]), line)
		}
		raw, _ := tomlValue(w.parser.Raw, value)
		w.set(k, raw, Origin{File: w.file, Line: line}, column)
		return
	}
	isTable := value.Kind == unstable.InlineTable
	switch {
	case isSection(name) && isTable:
		w.enter(name, line)
		for inner := value.Children(); inner.Next(); {
			w.keyValue(path, inner.Node())
		}
	case isSection(name):
		w.report(line, column, name, "is a section; write ["+name+"] and its keys below")
	case isTable:
		w.report(line, column, name, unknownSection(name))
	default:
		w.report(line, column, name, unknownKey(name))
	}
}

// pidList handles pid = [{...}, {...}] below [obd].
func (w *walker) pidList(line, column int, value *unstable.Node) {
	wrong := func() {
		w.report(line, column, pidSection, "is a list of sections; write each as [[obd.pid]] and its keys below")
	}
	if value.Kind != unstable.Array {
		wrong()
		return
	}
	for e := value.Children(); e.Next(); {
		if e.Node().Kind != unstable.InlineTable {
			wrong()
			return
		}
		w.startPID(line)
		for inner := e.Node().Children(); inner.Next(); {
			w.keyValue([]string{"obd", "pid"}, inner.Node())
		}
		w.endPID()
	}
}

func (w *walker) startPID(line int) {
	p := defaultPID
	p.origin = Origin{File: w.file, Line: line}
	w.pid, w.pidBad = &p, false
}

func (w *walker) pidKey(name string, line, column int, value *unstable.Node) {
	k := findPIDKey(name)
	if k == nil {
		w.report(line, column, pidSection+"."+name, unknownPIDKey(name))
		w.pidBad = true
		return
	}
	raw, _ := tomlValue(w.parser.Raw, value)
	if problem := k.set(w.pid, raw); problem != "" {
		w.report(line, 0, pidSection+"."+name, problem)
		w.pidBad = true
	}
}

// endPID takes up the PID whose section ends.
func (w *walker) endPID() {
	if w.pid == nil {
		return
	}
	if problem := w.pid.missing(); problem != "" && !w.pidBad {
		w.report(w.pid.origin.Line, 0, pidSection, problem)
	}
	if len(w.config.OBD.PID) == maxPIDs {
		w.report(w.pid.origin.Line, 0, pidSection, fmt.Sprintf("is one more than %d; remove some", maxPIDs))
	}
	w.config.OBD.PID = append(w.config.OBD.PID, *w.pid)
	if w.origins[pidSection] == (Origin{}) {
		w.origins[pidSection] = w.pid.origin
	}
	w.pid = nil
}

// keyPath returns the parts of a dotted key and the node of the first.
func keyPath(e *unstable.Node) (path []string, first *unstable.Node) {
	for it := e.Key(); it.Next(); {
		if first == nil {
			first = it.Node()
		}
		path = append(path, string(it.Node().Data))
	}
	return path, first
}

// join makes one name of a path. A part that TOML would have to quote stays quoted, so that no odd key looks like a known one.
func join(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = p
		bare := func(r rune) bool {
			return r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		}
		if p == "" || !utf8.ValidString(p) || strings.TrimFunc(p, bare) != "" {
			parts[i] = strconv.Quote(p)
		}
	}
	return strings.Join(parts, ".")
}

// tomlValue turns a node into a string, int64, float64, bool or []any of these; nil and false: it is of another kind.
func tomlValue(text func(unstable.Range) []byte, n *unstable.Node) (any, bool) {
	switch n.Kind {
	case unstable.String:
		return string(n.Data), true
	case unstable.Bool:
		return string(text(n.Raw)) == "true", true
	case unstable.Integer:
		// TOML's prefixes 0x, 0o and 0b, its sign and its underscores are Go's; base 0 understands them.
		v, err := strconv.ParseInt(string(text(n.Raw)), 0, 64)
		if err != nil {
			return nil, false // not reached: the decoder has read it
		}
		return v, true
	case unstable.Float:
		v, err := strconv.ParseFloat(strings.ReplaceAll(string(text(n.Raw)), "_", ""), 64)
		if err != nil {
			return nil, false // not reached, as above
		}
		return v, true
	case unstable.InlineTable:
		return map[string]any{}, true
	case unstable.Array:
		list := []any{}
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			v, _ := tomlValue(text, it.Node())
			list = append(list, v)
		}
		return list, true
	default:
		return nil, false
	}
}

// example is a line that sets a key.
func example(k *key) string {
	d := Default()
	d.Record.Curve = &defaultCurve
	return k.name[strings.LastIndexByte(k.name, '.')+1:] + " = " + formatValue(k.get(&d))
}
