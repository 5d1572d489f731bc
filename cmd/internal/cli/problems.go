package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// problems are the lines that an error is told in: one for each error of a list, such as errors.Join or a configuration's
// mistakes, and one for any other, however many lines its text has.
func problems(err error) []string {
	switch e := err.(type) {
	case BadNews:
		return e.Lines
	case Failure:
		return problems(e.Err)
	case Status:
		if e.Err == nil {
			return nil
		}
		return problems(e.Err)
	case interface{ Unwrap() []error }:
		var lines, texts []string
		for _, part := range e.Unwrap() {
			lines, texts = append(lines, problems(part)...), append(texts, part.Error())
		}
		// What wraps several errors in a sentence of its own, as fmt.Errorf does, is no list.
		if strings.Join(texts, "\n") == err.Error() {
			return lines
		}
	}
	return []string{err.Error()}
}

// oneLine makes one line of a text, which may have come from a file or from another machine: no character in it moves the
// terminal's cursor.
func oneLine(text string) string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range parts {
		parts[i] = strings.TrimSpace(strings.ReplaceAll(parts[i], "\t", " "))
	}
	var b strings.Builder
	for _, r := range strings.TrimSpace(strings.Join(parts, " ")) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
