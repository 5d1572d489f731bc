package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// commands are all that the program has, and its own root.
var commands = []string{"", "run", "demo", "simulate", "status", "doctor", "detect", "tail", "log-level", "bugreport", "decode", "buffer", "buffer stat", "buffer verify", "buffer export", "buffer salvage", "config", "config check", "config show", "config init", "install", "uninstall", "provision", "version"}

func TestHelpIsAsDocumented(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, name := range commands {
		r := inProcess(t, append(strings.Fields(name), "--help")...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%s --help: exit status %d, said %s", name, r.code, r.stderr)
		}
		all.WriteString("$ " + strings.Join(append(append([]string{"obdagent"}, strings.Fields(name)...), "--help"), " ") + "\n" + r.stdout + "\n")
	}
	golden(t, "help.golden", all.String())
}

func TestHelpTellsTheExitStatusWhereItIsSpecial(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "run", "demo", "status", "doctor", "detect", "tail", "log-level", "bugreport", "decode", "config check"} {
		r := inProcess(t, append(strings.Fields(name), "--help")...)
		if !strings.Contains(strings.ToLower(r.stdout), "status") || !strings.Contains(r.stdout, "Usage:\n  obdagent") {
			t.Errorf("%s --help:\n%s", name, r.stdout)
		}
	}
}

// TestMistakesAreStatus2AndOneLine keeps what each mistake is told as, for a person to judge, in mistakes.golden.
func TestMistakesAreStatus2AndOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "used/sd-vehicle-data/x"), "")
	writeFile(t, filepath.Join(dir, "empty.nmea"), "")
	writeFile(t, filepath.Join(dir, "own/config.toml"), "[vehicle]\n")
	writeFile(t, filepath.Join(dir, "nosocket.toml"), "[status]\nsocket = \"\"\n")
	writeFile(t, filepath.Join(dir, "binary.toml"), "\x7fELF\x00\x1b[2J\n")
	var all strings.Builder
	for _, line := range []string{
		"", "frob", "stats", "--frob", "help frob", "config", "config frob", "config cheque", "config check --frob", "config check extra",
		"config check --config DIR/none.toml", "config check --config DIR/own", "config check --config DIR/binary.toml", "config show --config DIR/none.toml",
		"config init a b", "config init DIR/own/config.toml", "config init DIR/none/config.toml",
		"run extra", "run --frob", "run --config DIR/none.toml",
		"demo extra", "demo --for soon", "demo --for 100ms", "demo --for 25h", "demo --rate 11hz", "demo --rate fast", "demo --seed -1", "demo --dir DIR/used",
		"simulate extra", "simulate --dir DIR/x --rate 0", "simulate --dir DIR/x --nmea DIR/none.nmea", "simulate --dir DIR/x --nmea DIR/own", "simulate --dir DIR/x --nmea DIR/empty.nmea",
		"simulate --dir DIR/x --obd 127.0.0.1:35000", "simulate --dir DIR/x --obd tcp://nohost", "simulate --dir DIR/own", "decode", "version extra",
		"tail extra", "tail --frob", "tail --config DIR/none.toml", "tail --config DIR/nosocket.toml", "log-level loud", "log-level a b", "log-level --config DIR/none.toml",
		"bugreport a b", "bugreport DIR/own/config.toml",
		"doctor extra", "doctor --for 0s", "doctor --for soon", "doctor --config DIR/none.toml", "detect --frob", "detect tcp://192.168.0.10:35000", "detect --config DIR/none.toml",
	} {
		said := mistake(t, 2, words(line, dir)...)
		all.WriteString("$ obdagent " + line + "\n" + strings.ReplaceAll(said, dir, "DIR") + "\n")
	}
	// Asked for rightly, and no place for it: status 1.
	for _, line := range []string{"bugreport DIR/none/x.tar.gz", "bugreport DIR/empty.nmea/x.tar.gz"} {
		said := mistake(t, 1, words(line, dir)...)
		all.WriteString("$ obdagent " + line + "\n" + strings.ReplaceAll(said, dir, "DIR") + "\n")
	}
	golden(t, "mistakes.golden", all.String())
	if text, err := os.ReadFile(filepath.Join(dir, "own/config.toml")); err != nil || string(text) != "[vehicle]\n" {
		t.Errorf("somebody's own configuration is now %q (%v)", text, err)
	}
}

func TestStatusHasExitStatusesOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "nosocket.toml"), "[status]\nsocket = \"\"\n")
	writeFile(t, filepath.Join(dir, "bad.toml"), "[status]\nsoket = \"\"\n")
	writeFile(t, filepath.Join(dir, "ours.toml"), "[status]\nsocket = \"/nonexistent/s\"\n")
	var all strings.Builder
	for _, test := range []struct {
		line string
		code int
	}{
		{"status --socket DIR/none", 2},
		{"status --socket DIR/none --wait 1ms", 2},
		{"status --wait -1s", 3},
		{"status --wait soon", 3},
		{"status --wait 1s --watch", 3},
		{"status --config DIR/ours.toml", 2},
		{"status extra", 3},
		{"status --frob", 3},
		{"status --config DIR/none.toml", 3},
		{"status --config DIR/bad.toml", 3},
		{"status --config DIR/nosocket.toml", 3},
	} {
		said := mistake(t, test.code, words(test.line, dir)...)
		all.WriteString("$ obdagent " + test.line + "\n" + strings.ReplaceAll(said, dir, "DIR") + "\n")
	}
	golden(t, "status.golden", all.String())
}

func TestVersionIsOneLine(t *testing.T) {
	t.Parallel()
	if r := obdagent(t, t.TempDir(), "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "obdagent ") || !isOneLine(r.stdout) || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}
