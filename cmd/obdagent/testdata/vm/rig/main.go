// Command rig is the test's hand and eye on the board of make vm: it does what it is told over one virtio port, and tells over
// another what the daemon says of itself. It is built by the test and comes to the board on a stick.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ports  = "/dev/virtio-ports/"
	socket = "/run/obdagent/status.sock"
	// unsynced is written and never synced: what a power cut takes, beside the daemon's records, which it must not take.
	unsynced = "/var/lib/rig-unsynced"
	// lookEvery is how often the daemon is asked: many times within its buffer.sync.
	lookEvery = 100 * time.Millisecond
)

func main() {
	failed := make(chan error)
	go func() { failed <- hand() }()
	go func() { failed <- eye() }()
	fmt.Fprintln(os.Stderr, "rig:", <-failed)
	os.Exit(1)
}

// open waits for udev to name a port.
func open(name string) (*os.File, error) {
	for range 600 {
		f, err := os.OpenFile(ports+name, os.O_RDWR, 0)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("no port %s", name)
}

// hand runs commands: a JSON array of words and the text for its standard input a line, answered by a line.
func hand() error {
	f, err := open("hand")
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(f), json.NewEncoder(f)
	for {
		var do struct {
			Args  []string `json:"args"`
			Stdin string   `json:"stdin"`
		}
		if err := in.Decode(&do); err != nil {
			return err
		}
		c := exec.Command(do.Args[0], do.Args[1:]...)
		c.Stdin = strings.NewReader(do.Stdin)
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		c.WaitDelay = time.Second
		answer := struct {
			Out string `json:"out"`
			Err string `json:"err"`
		}{}
		if err := c.Run(); err != nil {
			answer.Err = err.Error()
		}
		answer.Out = said.String()
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// eye tells what the daemon says, a line for each time that it answers, and notes in the unsynced file that it has.
func eye() error {
	f, err := open("eye")
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	beside, err := os.OpenFile(unsynced, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	written := 0
	for range time.Tick(lookEvery) {
		said, err := ask()
		if err != nil {
			said = []byte("null") // it does not run yet, or no more
		} else if _, err := beside.Write(boot); err != nil {
			return err
		} else {
			written++
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f, `{"boot_id":%q,"boottime_ns":%d,"unsynced":%d,"snapshot":%s}`+"\n", bytes.TrimSpace(boot), now.Nano(), written, bytes.TrimSpace(said)); err != nil {
			return err
		}
	}
	return nil
}

// ask is HTTP by hand: net/http would cost this slow board more than the daemon's answer does.
func ask() ([]byte, error) {
	conn, err := net.DialTimeout("unix", socket, 10*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "GET /v1/status HTTP/1.0\r\n\r\n"); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	head, body, whole := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !whole || !bytes.HasPrefix(head, []byte("HTTP/1.0 200 ")) || !json.Valid(body) {
		return nil, fmt.Errorf("answer %q", head)
	}
	return body, nil
}
