// Package deploy holds what goes onto a device: the sample configuration, the systemd unit and the udev rules, embedded, so
// that one file can install itself.
//
// # Promises
//
//   - The files are complete and work as they stand once the binary is at /usr/bin/obdagent: unit and rules hold no
//     placeholders, and the configuration is that of an empty file.
//   - The unit runs the daemon as a user of its own without privileges: what it may reach is the network, the serial ports and
//     its own directories below /etc, /var/lib, /var/log and /run.
//
// # Limits
//
// The unit is for systemd 252 and later (Debian 12): earlier ones do not know %d, the credentials' directory. The package imports nothing of this module, and installs nothing itself.
package deploy

import _ "embed"

// Config is the sample configuration, for /etc/obdagent/config.toml.
//
//go:embed obdagent.toml
var Config string

// Unit is the systemd unit, for /usr/lib/systemd/system/obdagent.service.
//
//go:embed obdagent.service
var Unit string

// Rules are the udev rules, for /usr/lib/udev/rules.d/70-obdagent.rules. The number matters: they need what
// 60-serial.rules has found out.
//
//go:embed 70-obdagent.rules
var Rules string
