package main

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestACutLeavesWhatADiskMay compares states with what each sector may hold: what was flushed, or what was written there since.
func TestACutLeavesWhatADiskMay(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const size = 16 * blockBytes
	var seen [cutModes]struct{ none, some, all bool }
	for range 600 {
		m := &image{}
		m.load(make([]byte, size))
		m.record()
		for range 12 {
			if rnd.IntN(4) == 0 {
				m.flush()
				continue
			}
			b := make([]byte, (1+rnd.IntN(20))*sectorBytes)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			m.writeAt(b, int64(rnd.IntN(size/sectorBytes))*sectorBytes)
		}
		events := m.stop()
		if len(events) != m.position() {
			t.Fatalf("%d events, position %d", len(events), m.position())
		}
		last := 0
		for i, e := range events {
			if e.flush() {
				last = i + 1
			}
		}
		flushed := make([]byte, size)
		for _, e := range events[:last] {
			copy(flushed[e.off:], e.data)
		}
		writes := events[last:]
		mode := cutMode(rnd.IntN(int(cutModes)))
		got := flat(flushed, cut(flushed, writes, mode, rnd))
		full := slices.Clone(flushed)
		for _, e := range writes {
			copy(full[e.off:], e.data)
		}
		if now := make([]byte, size); m.readAt(now, 0) != size || !bytes.Equal(now, full) {
			t.Fatal("what was written is not what is read")
		}
		for at := 0; at < size; at += sectorBytes {
			may := [][]byte{flushed[at : at+sectorBytes]}
			for _, e := range writes {
				if off := at - int(e.off); off >= 0 && off < len(e.data) {
					may = append(may, e.data[off:off+sectorBytes])
				}
			}
			if !slices.ContainsFunc(may, func(b []byte) bool { return bytes.Equal(b, got[at:at+sectorBytes]) }) {
				t.Fatalf("%s: the sector at %d holds what was never there", cutModeNames[mode], at)
			}
		}
		if s := &seen[mode]; !bytes.Equal(flushed, full) {
			s.none = s.none || bytes.Equal(got, flushed)
			s.all = s.all || bytes.Equal(got, full)
			s.some = s.some || !bytes.Equal(got, flushed) && !bytes.Equal(got, full)
		}
	}
	for mode, s := range seen {
		if want := mode > int(cutAll); s.some != want || mode == int(cutNone) && (!s.none || s.all) || mode == int(cutAll) && (!s.all || s.none) {
			t.Errorf("%s: %+v", cutModeNames[mode], s)
		}
	}
}
