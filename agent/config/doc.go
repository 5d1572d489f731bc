// Package config is the agent's configuration: one TOML file and the OBDAGENT_* environment variables, as one typed,
// validated Config. It is the only place that knows the file and its keys.
//
// # Promises
//
//   - Every key is optional. Default is a working configuration.
//   - Nothing is ignored in silence. An unknown key, section or OBDAGENT_* variable is refused with the nearest known name;
//     a value of the wrong type or out of range is refused with what to write.
//   - All problems are reported at once, each as one line that says where (file and line, or variable), what, and what to do.
//     Broken TOML syntax is reported alone: what follows it cannot be read. A file with a hundred problems is left at that.
//   - What Load and Parse return is valid in itself: units are typed, names are checked, keys that need each other are there.
//     Whether a port or a directory exists is not looked at: in a vehicle they come and go.
//   - The origin of every value (default, file and line, variable) is known; Show prints it.
//   - Nothing in a Config is secret: credentials are named by their path only.
//
// # Precedence
//
// A variable beats the file, the file beats the default. The variable of a key is its name in upper case, after OBDAGENT_,
// with underscores for dots: uplink.iot.role_alias is OBDAGENT_UPLINK_IOT_ROLE_ALIAS. A variable that is set to nothing sets
// an empty value. OBDAGENT_CONFIG names the file; OBDAGENT_TEST_* belongs to the tests and is not looked at. A list is
// written with commas, or as a TOML array.
//
// # Limits
//
// A file is at most 256 KiB of UTF-8 and has at most 64 [[obd.pid]], which no variable can set. A Config is shared by the whole
// daemon and is never changed after it was made: whoever needs other values makes another Config.
package config
