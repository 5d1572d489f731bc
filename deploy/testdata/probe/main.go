// Command probe looks, from inside of the unit's sandbox, at what the daemon needs of the kernel, and at what it must not reach;
// or it floods a UDP port with epochs of a moving receiver. It is built by the tests of this package.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	var err error
	switch os.Args[1] {
	case "look":
		err = look(os.Args[2])
	case "flood":
		err = flood(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// look writes what it finds as JSON: an empty text is success, anything else the error.
func look(file string) error {
	found := map[string]string{}
	note := func(what string, err error) {
		found[what] = ""
		if err != nil {
			found[what] = err.Error()
		}
	}
	_, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	note("read the boot id", err)
	_, err = os.ReadFile("/etc/machine-id")
	note("read the machine id", err)
	_, err = unix.Adjtimex(&unix.Timex{})
	note("ask for the clock's state", err)
	note("count a device's bytes", countBytes())
	note("set the clock", unix.Settimeofday(&unix.Timeval{Sec: 1e9}))
	_, err = unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY})
	note("steer the clock", err)
	note("write below /etc", os.WriteFile("/etc/obdagent/written", nil, 0o600))
	note("write below /usr", os.WriteFile("/usr/bin/written", nil, 0o600))
	note("write records", os.WriteFile("/var/lib/obdagent/written", nil, 0o600))
	note("write the log", os.WriteFile("/var/log/obdagent/written", nil, 0o600))
	note("make a socket", os.WriteFile("/run/obdagent/written", nil, 0o600))
	_, err = os.ReadFile("/etc/shadow")
	note("read passwords", err)
	_, err = os.ReadDir("/root")
	note("read root's home", err)
	_, err = os.ReadFile("/proc/1/environ")
	note("read another process's environment", err)
	_, err = os.ReadFile(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), "key"))
	note("read the key", err)
	_, err = net.Listen("tcp", "127.0.0.1:0")
	note("listen", err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	note("open a raw socket", err)
	if err == nil {
		_ = unix.Close(fd)
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func countBytes() error {
	files, err := filepath.Glob("/sys/dev/block/*/stat")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no counters: %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err == nil && len(strings.Fields(string(text))) < 7 {
		err = fmt.Errorf("%s holds %q", files[0], text)
	}
	return err
}

// flood sends a moving receiver's epochs of 10 Hz at fifty times that rate, until it is ended.
func flood(address string) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	start := time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC)
	for n := 0; ; n++ {
		t := start.Add(time.Duration(n) * 100 * time.Millisecond)
		clock, lat := t.Format("150405.00"), 4800+float64(n%30000)*0.001
		for _, body := range []string{
			fmt.Sprintf("GPRMC,%s,A,%.4f,N,01131.0000,E,036.0,000.0,%s,,,A", clock, lat, t.Format("020106")),
			fmt.Sprintf("GPGGA,%s,%.4f,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,,", clock, lat),
		} {
			sum := byte(0)
			for i := range len(body) {
				sum ^= body[i]
			}
			// Nobody listens yet, or any more: the next one may arrive.
			_, _ = fmt.Fprintf(c, "$%s*%02X\r\n", body, sum)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
