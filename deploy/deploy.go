// Package deploy holds what goes onto a device, embedded, so that one file can install itself: the sample configuration, the
// systemd units, the udev rules, OpenWrt's init script; and what installs them, takes them away again, and takes over a board's
// seed at its first boot, or puts it onto an image.
//
// # Promises
//
//   - The files are complete and work as they stand once the binary is at /usr/bin/obdagent: units and rules hold no
//     placeholders, and the configuration is that of an empty file.
//   - The unit runs the daemon as a user of its own without privileges: what it may reach is the network, the serial ports and
//     its own directories below /etc, /var/lib, /var/log and /run.
//   - Install changes nothing unless it can do all, overwrites nothing that is not its own, and done twice changes nothing.
//     Uninstall leaves the root as it was before Install, but for what people have changed since. Both carry on where a power
//     cut stopped them, and never leave the root they were given, whatever links an image has.
//   - TakeSeed leaves each file of a seed on the boot partition, or installed, or both, at any moment of it. What is wrong is
//     not installed.
//   - Place makes an image a certain board's with TakeSeed's own work: stopped at any moment, the board that boots from it is the
//     one that it was, or the new one, and never a part of each.
//
// # Limits
//
// The unit is for systemd 252 and later (Debian 12): earlier ones do not know %d, the credentials' directory. Install knows
// systemd and OpenWrt's procd. A root in which /etc or /usr is an absolute symbolic link is refused. FAT keeps no permissions: until
// the first boot, who has the card can read the seed. The package imports nothing of this module.
package deploy

import _ "embed"

// Config is the sample configuration, for /etc/obdagent/config.toml.
//
//go:embed obdagent.toml
var Config string

// Unit is the systemd unit of the daemon, for /usr/lib/systemd/system/obdagent.service.
//
//go:embed obdagent.service
var Unit string

// SeedUnit is the systemd unit that takes over a seed before the daemon starts, for /usr/lib/systemd/system/obdagent-seed.service.
//
//go:embed obdagent-seed.service
var SeedUnit string

// Rules are the udev rules, for /usr/lib/udev/rules.d/70-obdagent.rules. The number matters: they need what
// 60-serial.rules has found out.
//
//go:embed 70-obdagent.rules
var Rules string

// InitScript starts the daemon on OpenWrt, for /etc/init.d/obdagent.
//
//go:embed obdagent.init
var InitScript string

// KeepList names what OpenWrt keeps over an update of its firmware, for /lib/upgrade/keep.d/obdagent.
//
//go:embed obdagent.keep
var KeepList string
