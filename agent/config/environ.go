package config

import (
	"slices"
	"strings"
)

const (
	variablePrefix     = "OBDAGENT_"
	testVariablePrefix = "OBDAGENT_TEST_" // the tests' own; not configuration
)

// lookup returns the value of a variable in an environment as os.Environ returns it; the last one counts.
func lookup(environ []string, name string) string {
	value := ""
	for _, e := range environ {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			value = v
		}
	}
	return value
}

// readEnviron sets what the OBDAGENT_* variables say. They beat the file; what is wrong in the file stays reported.
func (b *builder) readEnviron(environ []string) {
	values := make(map[string]string)
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, variablePrefix) {
			values[name] = value
		}
	}
	for i := range keys {
		k := &keys[i]
		name := k.env()
		value, ok := values[name]
		if !ok {
			continue
		}
		delete(values, name)
		from := Origin{Env: name}
		raw, problem := k.kind.fromText(value)
		if value == "" && k.kind != kindText && k.kind != kindList {
			problem = "is empty; give it a value, or unset it"
		}
		if problem != "" {
			b.origins[k.name] = from
			delete(b.refused, k.name) // it may have been refused in the file
			b.refuse(k.name, problem)
			continue
		}
		if k.kind == kindDuration && raw == "0" {
			raw = int64(0)
		}
		if strings.HasPrefix(k.name, curveSection+".") && b.origins[curveSection] == (Origin{}) {
			b.origins[curveSection] = from
		}
		b.set(k, raw, from, 0)
	}
	for name := range values {
		if name == pathVariable || strings.HasPrefix(name, testVariablePrefix) {
			continue
		}
		b.errors = append(b.errors, Error{Env: name, Message: unknownVariable(name)})
	}
}

func unknownVariable(name string) string {
	if name == envName(speedPeriod) {
		return speedIsAlwaysAsked
	}
	if name == envName(pidSection) || strings.HasPrefix(name, envName(pidSection)+"_") {
		return "a PID of one's own cannot be set by a variable; write [[obd.pid]] in the file"
	}
	names := []string{pathVariable}
	for i := range keys {
		names = append(names, keys[i].env())
	}
	slices.Sort(names)
	// The prefix is common to all: it must not make strangers look alike.
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], variablePrefix)
	}
	if near := nearest(strings.TrimPrefix(name, variablePrefix), names); near != "" {
		return "unknown variable; did you mean " + variablePrefix + near + "?"
	}
	return "unknown variable; unset it, or list the keys with: obdagent config show"
}
