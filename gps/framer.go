package gps

// maxSentence is the longest sentence accepted, from '$' to the checksum. NMEA 0183 allows 82 characters; receivers with
// many constellations or high precision send up to about 110. Two sentences that a receiver melted together (Garmin does,
// with a valid checksum) are longer and are dropped.
const maxSentence = 130

// A Framer cuts a stream of bytes into NMEA 0183 sentences. It tolerates everything that is not a sentence: noise, NULs,
// binary protocols in between, sentences cut short. The zero value is ready for use.
type Framer struct {
	// Good counts sentences with a right checksum.
	Good uint64
	// Bad counts lines that began as a sentence and had a wrong or no checksum, or were cut.
	Bad uint64
	// Noise counts bytes outside of sentences; line ends are not noise.
	Noise uint64
	// Binary counts the beginnings of binary frames among the noise.
	Binary Binary

	inside bool
	last   uint32 // the last four bytes outside of sentences, the latest lowest
	n      int
	buf    [maxSentence]byte
}

// Feed takes the next bytes of the stream and calls emit for each whole sentence in them, with '$' or '!' and checksum,
// without the line end. The slice is valid only during the call.
func (f *Framer) Feed(p []byte, emit func(sentence []byte)) {
	for len(p) > 0 {
		if f.inside {
			// Nearly all bytes are plain ones of a sentence: they are taken in one go.
			n := 0
			for n < len(p) && plain[p[n]] {
				n++
			}
			n = min(n, len(f.buf)-f.n)
			f.n += copy(f.buf[f.n:], p[:n])
			if p = p[n:]; len(p) == 0 {
				return
			}
		}
		f.special(p[0], emit)
		p = p[1:]
	}
}

// EndLine tells that the line ends here although no line end was received, as at the end of a datagram.
func (f *Framer) EndLine(emit func(sentence []byte)) {
	if f.inside {
		f.end(emit)
	}
}

// Reset forgets an unfinished sentence, as after a change of the line speed. The counters stay.
func (f *Framer) Reset() {
	f.inside, f.n = false, 0
}

// plain tells the bytes that a sentence is made of, but for its start.
var plain = func() (t [256]bool) {
	for c := byte(0x20); c <= 0x7e; c++ {
		t[c] = c != '$' && c != '!'
	}
	return t
}()

// special takes a byte that begins or ends a sentence, spoils it, or stands outside of one.
func (f *Framer) special(c byte, emit func([]byte)) {
	switch {
	case c == '$' || c == '!':
		// A new start always wins: what was open was cut short. "$$" (Teseo LIV4F starts every line so) cuts nothing.
		if f.inside {
			f.cut()
		}
		f.inside, f.n = true, 1
		f.buf[0] = c
	case !f.inside:
		f.last = f.last<<8 | uint32(c)
		f.Binary.note(f.last)
		if c != '\r' && c != '\n' {
			f.Noise++
		}
	case c == '\r' || c == '\n':
		f.end(emit)
	default:
		// Not printable, or one too many. A NUL within a sentence is not skipped: it is neutral to the checksum, so two lost
		// digits could go unnoticed.
		f.cut()
		f.Noise++
		f.last = uint32(c)
	}
}

// cut gives up the open sentence.
func (f *Framer) cut() {
	if f.n > 1 {
		f.Bad++
	}
	f.Noise += uint64(f.n)
	f.Reset()
}

func (f *Framer) end(emit func([]byte)) {
	n := f.n
	f.Reset()
	for n > 0 && f.buf[n-1] == ' ' {
		n--
	}
	s := f.buf[:n]
	if !checksumRight(s) {
		f.Bad++
		return
	}
	f.Good++
	emit(s)
}

// checksumRight reports whether s ends in '*' and two hexadecimal digits, of either case, that are the exclusive or of
// all bytes between the first and the '*'.
func checksumRight(s []byte) bool {
	n := len(s)
	if n < 4 || s[n-3] != '*' {
		return false
	}
	hi, ok1 := hexDigit(s[n-2])
	lo, ok2 := hexDigit(s[n-1])
	if !ok1 || !ok2 {
		return false
	}
	var sum byte
	for _, c := range s[1 : n-3] {
		sum ^= c
	}
	return sum == hi<<4|lo
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
