package config_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/agent/config"
)

// TestReferenceIsCurrent keeps docs/config.md the table of keys.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	golden(t, filepath.Join("..", "..", "docs", "config.md"), reference())
}

const referenceHead = `# The configuration file

<!-- Written by: go test ./agent/config -update -->

` + "`obdagent`" + ` reads ` + "`%s`" + `, or the file that ` + "`--config`" + ` or ` + "`OBDAGENT_CONFIG`" + ` names. It is [TOML](https://toml.io); every key is
optional, and an empty file is a working configuration. The sample with an explanation of each key is
[deploy/obdagent.toml](../deploy/obdagent.toml).

- A variable beats the file, the file beats the default. A list in a variable is written with commas
  (` + "`OBDAGENT_RECORD_FIELDS=vin,speed`" + `) or as a TOML array.
- A duration is a text with units: ` + "`\"500ms\" \"30s\" \"5m\" \"1h30m\"`" + `. A size is a number of bytes, or a text with a unit:
  ` + "`\"512MiB\" \"2GB\"`" + `.
- Unknown keys, sections and ` + "`OBDAGENT_*`" + ` variables are refused, except ` + "`OBDAGENT_CONFIG`" + ` and ` + "`OBDAGENT_TEST_*`" + `.
- ` + "`obdagent config check`" + ` lists all problems, one line each: where, what, and what to do.
  ` + "`obdagent config show`" + ` prints the values in effect and where each comes from.
- On SIGHUP (` + "`systemctl reload obdagent`" + `) the daemon reads it again. What is marked ↻ takes effect at once, and so do ` + "`[[obd.pid]]`" + `: a change in
  ` + "`[obd]`" + ` or ` + "`[gps]`" + ` opens that port again. What else changed is named in the log and in ` + "`obdagent status`" + `, and takes effect with the next start,
  which loses nothing. A file with a mistake is refused whole, and the configuration in force stays.
`

const referencePID = `
## [[obd.pid]]

A value of the car that this program does not know by itself; one such section for each; the values are in a record's ` + "`extra`" + `. No variable can set it.

| key | type | default | meaning |
|---|---|---|---|
| name | text | | name of the record's field: small letters, digits and _ |
| request | text | | mode and PID in hex: ` + "`\"01A6\"`" + `, or ` + "`\"22\"`" + ` and a data identifier; only modes that read |
| bytes | whole number | | data bytes of the answer, 1 to 64 |
| formula | text | | of the bytes A, B, C, ... with + - * / and ( ) |
| unit | text | ` + "`\"\"`" + ` | |
| min, max | number | 0 | an answer outside of them is not believed; max must be above min |
| period | duration | ` + "`\"10s\"`" + ` | how often it is asked |
`

func reference() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, referenceHead, config.DefaultPath)
	section := ""
	for _, k := range config.Keys() {
		dot := strings.LastIndexByte(k.Name, '.')
		if s := k.Name[:dot]; s != section {
			section = s
			fmt.Fprintf(&out, "\n## [%s]\n\n| key | type | default | variable | meaning |\n|---|---|---|---|---|\n", s)
		}
		value := ""
		if k.Default != "" {
			value = "`" + k.Default + "`"
		}
		meaning := k.Meaning
		if k.Live {
			meaning += " ↻"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | `%s` | %s |\n", k.Name[dot+1:], k.Type, value, k.Env, meaning)
	}
	out.WriteString(referencePID)
	return out.Bytes()
}
