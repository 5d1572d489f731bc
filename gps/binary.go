package gps

// Binary counts the beginnings of frames of the binary protocols that receivers speak beside or instead of NMEA.
type Binary struct {
	UBX     uint64 // u-blox: B5 62 (UBX-13003221, section 32.2)
	SiRF    uint64 // SiRF binary: A0 A2 (SiRF Binary Protocol Reference Manual, section 2)
	SkyTraq uint64 // SkyTraq Venus: A0 A1 (AN0003, "Binary Messages of SkyTraq Venus 6 GPS Receiver")
}

// binaryEnough is how many frames make it sure: two bytes that begin one come by chance, once in 65,536 in noise.
const binaryEnough = 3

// Name names the protocol met most, empty if there is none for sure.
func (b Binary) Name() string {
	name, most := "", uint64(binaryEnough-1)
	for _, p := range []struct {
		name string
		n    uint64
	}{{"UBX (u-blox binary)", b.UBX}, {"SiRF binary", b.SiRF}, {"SkyTraq binary", b.SkyTraq}} {
		if p.n > most {
			name, most = p.name, p.n
		}
	}
	return name
}

// note takes two bytes that follow each other outside of sentences.
func (b *Binary) note(first, second byte) {
	switch {
	case first == 0xb5 && second == 0x62:
		b.UBX++
	case first == 0xa0 && second == 0xa2:
		b.SiRF++
	case first == 0xa0 && second == 0xa1:
		b.SkyTraq++
	}
}
