package deploy

// What the tests of the package's promises need of its inside.

// ErrPowerCut ends the work as a power cut does: nothing is tidied up.
var ErrPowerCut = errPowerCut

// WithBefore has before called at each change of the disk.
func (o InstallOptions) WithBefore(before func(op, file string) error) InstallOptions {
	o.before = before
	return o
}

// WithBefore has before called at each change of the disk.
func (o UninstallOptions) WithBefore(before func(op, file string) error) UninstallOptions {
	o.before = before
	return o
}

// WithBefore has before called at each change of the disk.
func (o SeedOptions) WithBefore(before func(op, file string) error) SeedOptions {
	o.before = before
	return o
}

// WithBefore has before called at each change of the disk.
func (o PlaceOptions) WithBefore(before func(op, file string) error) PlaceOptions {
	o.before = before
	return o
}

// WithMounts has mountinfo in place of the kernel's /proc/self/mountinfo.
func (o SeedOptions) WithMounts(mountinfo string) SeedOptions {
	o.mounts = mountinfo
	return o
}
