package record

import (
	"encoding/json"
	"fmt"
)

// AppendJSON appends the record as one line of JSON, for the wire: every field that is present, and the six of
// ContractFields always, as null where they are absent.
func (r *Record) AppendJSON(dst []byte) []byte { return r.appendJSON(dst, false) }

// AppendStored appends the record as one line of JSON, for the disk: as AppendJSON, with what is needed to date it later.
func (r *Record) AppendStored(dst []byte) []byte { return r.appendJSON(dst, true) }

func (r *Record) appendJSON(dst []byte, stored bool) []byte {
	open := byte('{')
	for i := range fields {
		f := &fields[i]
		if f.stored && !stored {
			continue
		}
		start := len(dst)
		dst = append(dst, open, '"')
		dst = append(dst, f.name...)
		dst = append(dst, '"', ':')
		var ok bool
		switch {
		case f.json != nil:
			dst, ok = f.json(r, dst)
		case f.quoted:
			value := len(dst)
			dst = append(dst, '"')
			if dst, ok = f.text(r, dst); ok {
				dst = closeString(dst, value)
			}
		default:
			dst, ok = f.text(r, dst)
		}
		switch {
		case ok:
		case f.always:
			dst = append(dst[:start], open, '"')
			dst = append(dst, f.name...)
			dst = append(dst, `":null`...)
		default:
			dst = dst[:start]
			continue
		}
		open = ','
	}
	return append(dst, '}', '\n')
}

// closeString ends a JSON string that begins with the quote at dst[value]. Our strings hardly ever need escaping; when one
// does, encoding/json does it.
func closeString(dst []byte, value int) []byte {
	for _, b := range dst[value+1:] {
		if b < ' ' || b == '"' || b == '\\' || b >= 0x7f {
			text, err := json.Marshal(string(dst[value+1:]))
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(dst[:value], text...)
		}
	}
	return append(dst, '"')
}

// A TextFormat writes chosen columns.
type TextFormat struct{ columns []*field }

// NewTextFormat returns the format with these columns. An unknown or repeated name, or none at all, is an error.
func NewTextFormat(names []string) (TextFormat, error) {
	if len(names) == 0 {
		return TextFormat{}, fmt.Errorf("no fields: name at least one, such as record_id")
	}
	seen := map[string]bool{}
	var t TextFormat
	for _, name := range names {
		f := byName[name]
		if f == nil || f.stored {
			return TextFormat{}, fmt.Errorf("%q is not a field of a record", name)
		}
		if seen[name] {
			return TextFormat{}, fmt.Errorf("field %q is named twice", name)
		}
		seen[name] = true
		t.columns = append(t.columns, f)
	}
	return t, nil
}

// Append appends the record as one line: the columns with one space between, NaN for what is missing, a newline at the end.
func (t TextFormat) Append(dst []byte, r *Record) []byte {
	for i, f := range t.columns {
		if i > 0 {
			dst = append(dst, ' ')
		}
		start := len(dst)
		var ok bool
		if dst, ok = f.text(r, dst); !ok {
			dst = append(dst[:start], "NaN"...)
			continue
		}
		for j := start; j < len(dst); j++ {
			// A space or line end inside a value would shift the columns of every reader; a quote would swallow them.
			if dst[j] <= ' ' || dst[j] == '"' || dst[j] == 0x7f {
				dst[j] = '_'
			}
		}
	}
	return append(dst, '\n')
}
