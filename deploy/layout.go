package deploy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// An initSystem starts the daemon on a board.
type initSystem string

const (
	systemd initSystem = "systemd"
	procd   initSystem = "procd" // OpenWrt
)

// An item is one thing that an installation consists of.
type item struct {
	path   string // absolute, within the root
	mode   fs.FileMode
	text   []byte // of a file
	target string // of a symbolic link; empty: a file
	own    bool   // the user's own from the first edit on: kept as it is then, and when it was deleted
}

// Where the board's program is, its configuration, and its identity.
const (
	programPath = "/usr/bin/obdagent"
	configPath  = "/etc/obdagent/config.toml"
	certPath    = "/etc/obdagent/cert.pem"
	keyPath     = "/etc/obdagent/key.pem"
)

// findInit says which init system a root has.
func (d *disk) findInit() (initSystem, error) {
	switch {
	case !d.isDir("/etc") || !d.isDir("/usr/lib"):
	case d.exists("/usr/lib/systemd/systemd"), d.exists("/lib/systemd/systemd"):
		return systemd, nil
	case d.exists("/sbin/procd"):
		return procd, nil
	default:
		return "", fmt.Errorf("%s has neither systemd nor OpenWrt's procd: start %s run by its own means", d.root.Name(), programPath)
	}
	return "", fmt.Errorf("%s holds no Linux system: name the directory at which its root partition is mounted", d.root.Name())
}

// firstDir is the first of some directories that is there, else the first.
func (d *disk) firstDir(dirs ...string) string {
	for _, dir := range dirs {
		if d.isDir(dir) {
			return dir
		}
	}
	return dirs[0]
}

// layout lists what belongs onto a root with an init system.
func (d *disk) layout(init initSystem, program []byte) []item {
	items := []item{{path: programPath, mode: 0o755, text: program}}
	if init == procd {
		return append(items,
			item{path: configPath, mode: 0o644, text: []byte(OpenWrtConfig()), own: true},
			item{path: "/etc/init.d/obdagent", mode: 0o755, text: []byte(InitScript)},
			item{path: "/lib/upgrade/keep.d/obdagent", mode: 0o644, text: []byte(KeepList)},
			// As its "enable" does, with the numbers that stand in the script.
			item{path: "/etc/rc.d/S95obdagent", target: "../init.d/obdagent"},
			item{path: "/etc/rc.d/K10obdagent", target: "../init.d/obdagent"})
	}
	// A system without merged /usr has them below /lib.
	units := d.firstDir("/usr/lib/systemd/system", "/lib/systemd/system")
	rules := d.firstDir("/usr/lib/udev/rules.d", "/lib/udev/rules.d")
	const wants = "/etc/systemd/system/multi-user.target.wants/"
	return append(items,
		item{path: configPath, mode: 0o644, text: []byte(Config), own: true},
		item{path: units + "/obdagent.service", mode: 0o644, text: []byte(Unit)},
		item{path: units + "/obdagent-seed.service", mode: 0o644, text: []byte(SeedUnit)},
		item{path: rules + "/70-obdagent.rules", mode: 0o644, text: []byte(Rules)},
		item{path: wants + "obdagent.service", target: units + "/obdagent.service"},
		item{path: wants + "obdagent-seed.service", target: units + "/obdagent-seed.service"})
}

// OpenWrtConfig is the sample for OpenWrt, where /var is in memory, /run is not there, and the flash has a few megabytes.
func OpenWrtConfig() string {
	return strings.NewReplacer(
		`#dir = "/var/lib/obdagent/buffer"`, `dir = "/srv/obdagent/buffer"`,
		`#max_bytes = "512MiB"`, `max_bytes = "8MiB"`,
		`#log = "/var/log/obdagent/status.log"`, `log = "/srv/obdagent/status.log"`,
		`#socket = "/run/obdagent/status.sock"`, `socket = "/var/run/obdagent/status.sock"`,
	).Replace(Config)
}

// maxProgramBytes bounds what is read as the program: three times its budget.
const maxProgramBytes = 33 << 20

// programMark stands in what the Go toolchain records in the program, with its package's path.
const programMark = "path\tobdagent/cmd/obdagent"

// readProgram reads the file that is to become /usr/bin/obdagent.
func readProgram(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxProgramBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case len(text) > maxProgramBytes:
		return nil, fmt.Errorf("%s has more than %d MiB: build it with make release", file, maxProgramBytes>>20)
	case machineOf(text) == 0 || !bytes.Contains(text, []byte(programMark)):
		return nil, fmt.Errorf("%s is not obdagent: name the program that was built for the board", file)
	}
	return text, nil
}

// checkMachine refuses a program for another processor than that of the root: a board would not start it.
func (d *disk) checkMachine(program []byte, file string) error {
	for _, other := range []string{"/bin/sh", "/usr/bin/env", "/bin/busybox", "/sbin/init"} {
		header, err := d.header(other)
		theirs, ours := machineOf(header), machineOf(program)
		if err != nil || theirs == 0 {
			continue
		}
		if theirs != ours {
			return fmt.Errorf("%s is for %s, and the programs in %s are for %s: name the right one with --binary", file, ours, d.root.Name(), theirs)
		}
		return nil
	}
	return nil // nothing to compare with
}

func (d *disk) header(file string) ([]byte, error) {
	f, err := d.root.Open(rel(file))
	if err != nil {
		return nil, err
	}
	header := make([]byte, elfHeader)
	_, err = io.ReadFull(f, header)
	return header, errors.Join(err, f.Close())
}

// A machine is a processor and its word size and byte order, as an ELF header tells them.
type machine uint32

// elfHeader is how much of an ELF file tells its machine: e_ident (16 bytes), e_type, e_machine (System V ABI, chapter 4).
const elfHeader = 20

// machineOf reads an ELF header; 0: it is none.
func machineOf(file []byte) machine {
	if len(file) < elfHeader || string(file[:4]) != "\x7fELF" {
		return 0
	}
	class, order := file[4], file[5] // 1: 32 bits, 2: 64; 1: little-endian, 2: big-endian
	number := binary.LittleEndian.Uint16(file[18:])
	if order == 2 {
		number = binary.BigEndian.Uint16(file[18:])
	}
	return machine(uint32(class)<<24 | uint32(order)<<16 | uint32(number))
}

// String names it as Go and Linux do.
func (m machine) String() string {
	const little32, little64, big32 = 1<<24 | 1<<16, 2<<24 | 1<<16, 1<<24 | 2<<16
	switch m {
	case little32 | 3:
		return "386"
	case little32 | 8:
		return "mipsle"
	case big32 | 8:
		return "mips"
	case little32 | 40:
		return "arm"
	case little64 | 62:
		return "amd64"
	case little64 | 183:
		return "arm64"
	case little64 | 243:
		return "riscv64"
	}
	return fmt.Sprintf("ELF machine %d (%d bits)", m&0xffff, 32*(m>>24))
}
