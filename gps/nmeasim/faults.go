package nmeasim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"obdagent/gps/internal/recording"
)

// Faults are probabilities, 0 to 1, that an epoch's burst is broken in a way. Several may hit the same burst. The zero
// value breaks nothing.
type Faults struct {
	Cut       float64 // one sentence loses its end, line end included
	Garbage   float64 // 1 to 40 random bytes somewhere in the burst
	NUL       float64 // a NUL before the first sentence, as receivers send at a restart
	Binary    float64 // a UBX frame between two sentences
	Stall     float64 // 2 to 5 seconds of silence before the burst
	Backward  float64 // the times of the burst step back by 1 to 30 seconds
	WrongBaud float64 // the burst as a UART at another speed reads it
	NoFix     float64 // the sentences say that there is no fix; positions stay in them
}

// breaker applies faults, the same for the same seed and bursts.
type breaker struct {
	faults Faults
	rand   *rand.Rand
}

func newBreaker(f Faults, seed uint64) *breaker {
	return &breaker{faults: f, rand: rand.New(rand.NewPCG(seed, 0x6e6d6561))} // "nmea"
}

func (b *breaker) write(ctx context.Context, w io.Writer, burst []byte) error {
	if b.faults != (Faults{}) {
		if b.hits(b.faults.Stall) && !wait(ctx, 2*time.Second+time.Duration(b.rand.Int64N(int64(3*time.Second)))) {
			return nil
		}
		burst = b.apply(burst)
	}
	if _, err := w.Write(burst); err != nil {
		if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		return fmt.Errorf("write NMEA burst: %w", err)
	}
	return nil
}

func (b *breaker) hits(p float64) bool { return p > 0 && b.rand.Float64() < p }

// apply returns the broken burst; the given one is not changed.
func (b *breaker) apply(burst []byte) []byte {
	f := b.faults
	if b.hits(f.NoFix) {
		burst = withoutFix(burst)
	}
	if b.hits(f.Backward) {
		burst = recording.Shift(burst, -time.Duration(1+b.rand.IntN(30))*time.Second)
	}
	if b.hits(f.Cut) {
		burst = b.cut(burst)
	}
	if b.hits(f.Binary) {
		lines := bytes.SplitAfter(burst, []byte("\n"))
		burst = insert(burst, len(bytes.Join(lines[:b.rand.IntN(len(lines))], nil)), b.ubx())
	}
	if b.hits(f.Garbage) {
		burst = insert(burst, b.rand.IntN(len(burst)+1), b.noise(1+b.rand.IntN(40)))
	}
	if b.hits(f.NUL) {
		burst = insert(burst, 0, []byte{0})
	}
	if b.hits(f.WrongBaud) {
		burst = b.wrongBaud(burst)
	}
	return burst
}

func insert(dst []byte, at int, piece []byte) []byte {
	return bytes.Join([][]byte{dst[:at], piece, dst[at:]}, nil)
}

func (b *breaker) noise(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(b.rand.Uint32())
	}
	return p
}

// cut takes the end of one line, from a random byte on.
func (b *breaker) cut(burst []byte) []byte {
	lines := bytes.SplitAfter(bytes.Clone(burst), []byte("\n"))
	i := b.rand.IntN(len(lines))
	if len(lines[i]) > 1 {
		lines[i] = lines[i][:1+b.rand.IntN(len(lines[i])-1)]
	}
	return bytes.Join(lines, nil)
}

// ubx makes a frame of u-blox's binary protocol (u-blox M8 protocol specification, UBX-13003221, section 32.2): two sync
// bytes, class, id, length, payload, and the 8-bit Fletcher checksum.
func (b *breaker) ubx() []byte {
	payload := b.noise(20 + b.rand.IntN(80))
	frame := append([]byte{0xb5, 0x62, 0x01, 0x07, byte(len(payload)), 0}, payload...)
	var x, y byte
	for _, c := range frame[2:] {
		x += c
		y += x
	}
	return append(frame, x, y)
}

// wrongBaud makes what a UART reads at a speed far too low: fewer bytes, of long runs of ones and zeros.
func (b *breaker) wrongBaud(burst []byte) []byte {
	const seen = "\x00\x80\xc0\xe0\xf0\xf8\xfc\xfe\xff\x06\x1e\x66\x78\x98"
	p := make([]byte, len(burst)/4+1)
	for i := range p {
		p[i] = seen[b.rand.IntN(len(seen))]
	}
	return p
}

// withoutFix changes the validity of each sentence and nothing else.
func withoutFix(burst []byte) []byte {
	var out []byte
	for line := range bytes.Lines(burst) {
		body, _, ok := strings.Cut(strings.TrimSuffix(string(line), "\r\n"), "*")
		f := strings.Split(body, ",")
		at, value := -1, ""
		if ok && len(f[0]) == 6 {
			switch f[0][3:] {
			case "RMC":
				at, value = 2, "V"
			case "GLL":
				at, value = 6, "V"
			case "GGA":
				at, value = 6, "0"
			case "GSA":
				at, value = 2, "1"
			case "GNS":
				at, value = 6, "NN"
			}
		}
		if at < 0 || at >= len(f) {
			out = append(out, line...)
			continue
		}
		f[at] = value
		out = append(recording.Append(out, strings.Join(f, ",")[1:]), "\r\n"...)
	}
	return out
}
