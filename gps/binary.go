package gps

// Binary counts the beginnings of frames of the binary protocols that receivers speak beside or instead of NMEA.
type Binary struct {
	UBX     uint64 // u-blox: B5 62 (UBX-13003221, section 32.2)
	SiRF    uint64 // SiRF binary: A0 A2 (SiRF Binary Protocol Reference Manual, section 2)
	SkyTraq uint64 // SkyTraq Venus: A0 A1 (AN0003, "Binary Messages of SkyTraq Venus 6 GPS Receiver")
	RTCM    uint64 // RTCM 3: D3, six zero bits and a length, then the number of the message (RTCM 10403, section 4.2)
}

// binaryEnough is how many frames make it sure: two bytes that begin one come by chance, once in 65,536 in noise.
const binaryEnough = 3

// Name names the protocol met most, empty if there is none for sure.
func (b Binary) Name() string {
	name, most := "", uint64(binaryEnough-1)
	for _, p := range []struct {
		name string
		n    uint64
	}{{"UBX (u-blox binary)", b.UBX}, {"SiRF binary", b.SiRF}, {"SkyTraq binary", b.SkyTraq},
		{"RTCM 3 (corrections for another receiver)", b.RTCM}} {
		if p.n > most {
			name, most = p.name, p.n
		}
	}
	return name
}

// note takes the last four bytes outside of sentences, the latest lowest.
func (b *Binary) note(last uint32) {
	switch uint16(last) {
	case 0xb562:
		b.UBX++
	case 0xa0a2:
		b.SiRF++
	case 0xa0a1:
		b.SkyTraq++
	}
	// The preamble of RTCM alone is one byte and met in any noise. The message numbers in use are 1001 to 1304 and, of the
	// manufacturers, from 4001 on; the fourth byte holds the upper eight of their twelve bits.
	if last>>24 == 0xd3 && last>>16&0xfc == 0 {
		if n := last & 0xff; 1001>>4 <= n && n <= 1304>>4 || n >= 4001>>4 {
			b.RTCM++
		}
	}
}
