package gps

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// maxRemembered bounds the file: a board has a handful of ports.
const maxRemembered = 16

// memory is what a Receiver learned of its ports. The file is this as JSON.
type memory struct {
	Baud map[string]int `json:"baud"`           // the speed that worked, by device
	Auto string         `json:"auto,omitempty"` // the port that auto took, if its name is a stable one
}

// recall reads Options.Memory.
func (r *Receiver) recall() {
	r.lastBaud = make(map[string]int)
	if r.opt.Memory == "" {
		return
	}
	text, err := os.ReadFile(r.opt.Memory)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		r.log.Debug("what was learned of the GPS ports is lost", "file", r.opt.Memory, "error", err)
		return
	}
	for name, baud := range m.Baud {
		if slices.Contains(speeds, baud) && len(r.lastBaud) < maxRemembered {
			r.lastBaud[name] = baud
		}
	}
	if stable(m.Auto) {
		r.lastAuto = m.Auto
	}
	r.kept = memory{Baud: maps.Clone(r.lastBaud), Auto: r.lastAuto}
}

// learned notes that a port gives good sentences.
func (r *Receiver) learned(p *openPort) {
	if r.opt.Memory == "" || r.source.kind != serialSource && r.source.kind != autoSource {
		return
	}
	m := memory{Baud: maps.Clone(r.kept.Baud), Auto: r.kept.Auto}
	if r.opt.Baud == 0 && slices.Contains(speeds, p.baud) {
		if m.Baud == nil || len(m.Baud) >= maxRemembered {
			m.Baud = make(map[string]int) // full of ports that came and went
		}
		m.Baud[p.name] = p.baud
	}
	if r.source.kind == autoSource && stable(p.name) {
		m.Auto = p.name
	}
	if m.Auto == r.kept.Auto && maps.Equal(m.Baud, r.kept.Baud) {
		return
	}
	if r.opt.Pulse != nil {
		r.opt.Pulse(0) // a disk has no bound
	}
	err := m.save(r.opt.Memory)
	r.pulse(0)
	if err != nil {
		r.log.Debug("what was learned of the GPS ports is not kept", "error", err)
		return
	}
	r.kept = m
}

// save replaces the file as a whole.
func (m memory) save(path string) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// stable reports whether a name stays with the device: numbers like that of ttyUSB0 go to whoever is plugged in first.
func stable(name string) bool { return strings.HasPrefix(name, "/dev/serial/") }
