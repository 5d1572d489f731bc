package buffer

// FakeDevice reads a device's figures below a sysfs of the test's making; ok is false if it is not found there.
func FakeDevice(sysfs string, major, minor uint32) (read func() Device, ok bool) {
	d := deviceNumbered(sysfs, major, minor)
	if d == nil {
		return nil, false
	}
	return d.read, true
}
