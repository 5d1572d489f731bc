package gps

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/adrianmo/go-nmea"
)

const metresPerSecondPerKnot = 1852.0 / 3600 // a knot is a nautical mile of 1852 m an hour

// A sentence is what one sentence of interest says. Which fields can be set depends on its type; what is absent is NaN,
// -1 or 0 as noted.
type sentence struct {
	nmea.BaseSentence

	tod     time.Duration // -1 if absent
	date    date          // zero if absent
	badDate bool          // a date was there and is none of the calendar
	pos     coordinates
	valid   byte    // 'A', 'V' or 0: RMC, GLL
	faa     byte    // mode indicator of NMEA 2.3 and later (A D E F M N P R S), or 0: RMC, GLL, VTG, GNS
	quality int     // GGA fix quality 0..8, or -1
	gsaMode int     // 1 none, 2 2D, 3 3D, or 0: GSA
	sats    int     // -1 if absent: GGA, GNS; for GSA the number of satellites listed
	system  int     // GSA's GNSS system ID, or -1
	hdop    float64 // 0.01..89.99 or NaN: GGA, GNS, GSA
	alt     float64 // m above mean sea level: GGA, GNS
	speed   float64 // m/s: RMC, VTG
	course  float64 // degrees true: RMC, VTG
}

// A sentenceReader types and reads sentences. go-nmea splits them and finds the type; the fields are read here, because
// its own structs cannot tell an empty field from zero (adrianmo/go-nmea#8, #79), take NaN and impossible dates, and
// refuse usable sentences (GGA quality 7 and 8, RMC with an unknown navigational status, GGA with 13 fields).
type sentenceReader struct {
	parser nmea.SentenceParser
	s      sentence // reused: a sentence lives until the next is read
}

func newSentenceReader() *sentenceReader {
	r := &sentenceReader{}
	r.parser = nmea.SentenceParser{
		CheckCRC: func(nmea.BaseSentence, string) error { return nil }, // the Framer has checked it
		CustomParsers: map[string]nmea.ParserFunc{
			nmea.TypeRMC: r.reading((*sentence).readRMC),
			nmea.TypeGGA: r.reading((*sentence).readGGA),
			nmea.TypeGNS: r.reading((*sentence).readGNS),
			nmea.TypeGLL: r.reading((*sentence).readGLL),
			nmea.TypeVTG: r.reading((*sentence).readVTG),
			nmea.TypeGSA: r.reading((*sentence).readGSA),
			nmea.TypeZDA: r.reading((*sentence).readZDA),
		},
	}
	return r
}

// reading wraps one of the read methods below as a parser of go-nmea.
func (r *sentenceReader) reading(read func(*sentence, fields) error) nmea.ParserFunc {
	return func(b nmea.BaseSentence) (nmea.Sentence, error) {
		r.s = sentence{
			BaseSentence: b, tod: -1, pos: noCoordinates, quality: -1, sats: -1, system: -1,
			hdop: math.NaN(), alt: math.NaN(), speed: math.NaN(), course: math.NaN(),
		}
		if err := read(&r.s, b.Fields); err != nil {
			return nil, fmt.Errorf("%s: %w", b.Prefix(), err)
		}
		return &r.s, nil
	}
}

// read returns what line says, nil for a type that fixes are not made of. line has passed the Framer. The result is valid
// until the next call.
func (r *sentenceReader) read(line []byte) (*sentence, error) {
	if !ofInterest(line) {
		return nil, nil
	}
	if star := bytes.IndexByte(line, '*'); star != len(line)-3 {
		return nil, fmt.Errorf("%s: '*' within the data", line[1:6])
	}
	s, err := r.parser.Parse(string(line))
	if err != nil {
		return nil, err
	}
	if s == nmea.Sentence(&r.s) {
		return &r.s, nil
	}
	return nil, nil
}

// ofInterest looks at the type before anything is parsed: most of what a receiver sends is GSV.
func ofInterest(line []byte) bool {
	if len(line) < 7 || line[0] != '$' || line[6] != ',' || line[1] == nmea.ProprietarySentencePrefix {
		return false
	}
	switch string(line[3:6]) {
	case nmea.TypeRMC, nmea.TypeGGA, nmea.TypeGNS, nmea.TypeGLL, nmea.TypeVTG, nmea.TypeGSA, nmea.TypeZDA:
		return true
	}
	return false
}

// The layouts below are those of NMEA 0183 as written up in "NMEA Revealed" (Eric S. Raymond, gpsd.gitlab.io/gpsd/NMEA.html).

// readRMC: time, status, lat, N, lon, E, knots, course, date, variation, E, mode, navigational status. The last is "V"
// (not valid for navigation) in most valid fixes of u-blox receivers and says nothing.
func (s *sentence) readRMC(f fields) (err error) {
	if s.tod, err = f.timeOfDay(0); err != nil {
		return err
	}
	s.valid = f.char(1)
	if s.pos, err = f.position(2); err != nil && s.valid == 'A' {
		return err // without a fix it does not matter: MTK 3301 then writes 8960.0000,N
	}
	knots, err := f.number(6)
	if err != nil {
		return err
	}
	s.setSpeed(knots, f.plausible(7, 0, 360))
	if s.date, err = ddmmyy(f.at(8)); err != nil {
		s.badDate = true
	}
	s.faa = f.char(11)
	return nil
}

// readGGA: time, lat, N, lon, E, quality, satellites, hdop, altitude, M, separation, M, age, station.
func (s *sentence) readGGA(f fields) (err error) {
	if s.tod, err = f.timeOfDay(0); err != nil {
		return err
	}
	s.quality = f.count(5)
	if s.pos, err = f.position(1); err != nil && s.quality != 0 {
		return err // without a fix it does not matter, as in RMC
	}
	s.sats = f.count(6)
	s.hdop = f.dilution(7)
	s.alt, err = f.number(8)
	return err
}

// readGNS: time, lat, N, lon, E, a mode per constellation, satellites, hdop, altitude, separation, age, station, status.
func (s *sentence) readGNS(f fields) (err error) {
	if s.tod, err = f.timeOfDay(0); err != nil {
		return err
	}
	if s.pos, err = f.position(1); err != nil {
		return err
	}
	s.faa = bestMode(f.at(5))
	s.sats = f.count(6)
	s.hdop = f.dilution(7)
	s.alt, err = f.number(8)
	return err
}

// bestMode reduces GNS's modes, one per constellation, to the best of them; 0 if there is none.
func bestMode(modes string) byte {
	const worstFirst = "NMSEADPFR"
	best := -1
	for i := range len(modes) {
		best = max(best, strings.IndexByte(worstFirst, modes[i]))
	}
	if best < 0 {
		return 0
	}
	return worstFirst[best]
}

// readGLL: lat, N, lon, E, time, status, mode.
func (s *sentence) readGLL(f fields) (err error) {
	if s.pos, err = f.position(0); err != nil {
		return err
	}
	if s.tod, err = f.timeOfDay(4); err != nil {
		return err
	}
	s.valid, s.faa = f.char(5), f.char(6)
	return nil
}

// readVTG: course, T, magnetic course, M, knots, N, km/h, K, mode. Before NMEA 2.3 it may be course, magnetic course,
// knots, km/h without the letters.
func (s *sentence) readVTG(f fields) error {
	knots := 4
	if f.char(1) != 'T' {
		knots = 2
	}
	v, err := f.number(knots)
	if err != nil {
		return err
	}
	s.setSpeed(v, f.plausible(0, 0, 360))
	s.faa = f.char(8)
	return nil
}

// readGSA: A or M, fix mode, satellites (12 fields by the standard, 24 in some receivers), pdop, hdop, vdop, and from
// NMEA 4.10 on the system ID. The dilutions have a decimal point, satellites and system ID have none.
func (s *sentence) readGSA(f fields) error {
	if m := f.count(1); 1 <= m && m <= 3 {
		s.gsaMode = m
	}
	s.sats = 0
	first := 14
	for i := 2; i < len(f); i++ {
		v := f.at(i)
		if strings.IndexByte(v, '.') >= 0 {
			first = i
			break
		}
		if i < 14 || len(f) > 20 {
			if n, err := decimal(v); err == nil && n > 0 {
				s.sats++
			}
		}
	}
	s.hdop = f.dilution(first + 1)
	s.system = f.count(first + 3)
	return nil
}

// readZDA: time, day, month, year of four digits, zone.
func (s *sentence) readZDA(f fields) (err error) {
	if s.tod, err = f.timeOfDay(0); err != nil {
		return err
	}
	if f.at(1) == "" && f.at(2) == "" && f.at(3) == "" {
		return nil
	}
	y, errY := decimal(f.at(3)) // count stops at 255
	if s.date, err = calendar(int(y), f.count(2), f.count(1)); err != nil || errY != nil {
		s.date, s.badDate = date{}, true
	}
	return nil
}

// A dilution of precision outside of these bounds means unknown: 0.00 (SkyTraq), 99.00 (Jackson Labs), 99.99 (BT-451).
const (
	minDilution = 0.01
	maxDilution = 89.99
)

func (f fields) dilution(i int) float64 { return f.plausible(i, minDilution, maxDilution) }

// maxKnots is where receivers under export control stop working; more is not a speed.
const maxKnots = 1000

func (s *sentence) setSpeed(knots, course float64) {
	if knots < 0 || knots > maxKnots {
		knots = math.NaN()
	}
	s.speed = knots * metresPerSecondPerKnot
	if course == 360 {
		course = 0
	}
	s.course = course
}
