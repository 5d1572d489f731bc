package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// An Error is one problem: where, what, and what to do.
type Error struct {
	File    string // as given to Load or Parse; empty: the problem is not in the file
	Line    int    // from 1; 0: the whole file
	Column  int    // in bytes from 1; 0: the whole line
	Env     string // the variable that was set, if the problem lies there
	Key     string // such as uplink.region; empty: none
	Message string
}

// Error returns one line: file:line:column: key: message, less what does not apply.
func (e Error) Error() string {
	var s strings.Builder
	if e.File != "" {
		s.WriteString(e.File)
		if e.Line > 0 {
			s.WriteString(":" + strconv.Itoa(e.Line))
			if e.Column > 0 {
				s.WriteString(":" + strconv.Itoa(e.Column))
			}
		}
		s.WriteString(": ")
	}
	switch {
	case e.Env != "":
		s.WriteString(e.Env + ": ")
	case e.Key != "":
		s.WriteString(e.Key + ": ")
	}
	s.WriteString(e.Message)
	return s.String()
}

// Errors are all problems of a configuration: those of the file by line, then those of the environment by name.
type Errors []Error

// Error returns one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each problem as an error of type Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(
			cmp.Compare(min(len(a.Env), 1), min(len(b.Env), 1)),
			cmp.Compare(a.Env, b.Env),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Key, b.Key),
		)
	})
}

// An Origin says where a value comes from. The zero value is the default.
type Origin struct {
	File string // name of the file as given to Load or Parse
	Line int    // in the file, from 1; 0: not from the file
	Env  string // name of the variable; empty: not from the environment
}

// String returns "default", file:line, or "env" and the variable's name.
func (o Origin) String() string {
	switch {
	case o.Env != "":
		return "env " + o.Env
	case o.Line > 0:
		return o.File + ":" + strconv.Itoa(o.Line)
	default:
		return "default"
	}
}

func (o Origin) problem(key, message string) Error {
	return Error{File: o.File, Line: o.Line, Env: o.Env, Key: key, Message: message}
}

// Origin returns where the value of a key such as "uplink.region" comes from.
func (c *Config) Origin(key string) Origin { return c.origins[key] }
