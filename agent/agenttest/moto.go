package agenttest

import (
	"bufio"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	motoServer = "moto_server"
	// motoStart is many times what it takes on a slow machine (1 to 5 s).
	motoStart = 2 * time.Minute
	motoStop  = 10 * time.Second
)

var motoAddress = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// Moto starts moto_server on a free port of the loopback interface and returns its URL, or ends the test as [Require] does. The
// server is empty, is the test's own, and ends with it.
func Moto(t testing.TB) string {
	t.Helper()
	Require(t, "moto")
	// The port is the kernel's choice: one that the test chose could be taken before moto_server has it.
	cmd := exec.Command(motoServer, "-H", "127.0.0.1", "-p", "0")
	// Its own group, as it may be a script that starts the server; and should the test die, it dies too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatalf("start moto_server: %v", err)
	}
	started, ended, address := make(chan error, 1), make(chan struct{}), make(chan string, 1)
	go func() {
		// Pdeathsig is sent when the thread ends that started the process: this one stays until that has ended.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		watch(stderr, address)
		_ = cmd.Wait() // it is ended by a signal, which Wait reports as an error
	}()
	if err := <-started; err != nil {
		t.Fatalf("start moto_server: %v", err)
	}
	t.Cleanup(func() {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			_ = syscall.Kill(-cmd.Process.Pid, signal) // an error means that it is gone, as it should be
			select {
			case <-ended:
				return
			case <-time.After(motoStop):
			}
		}
		t.Errorf("moto_server (process %d) did not end", cmd.Process.Pid)
	})
	select {
	case url := <-address:
		if !strings.HasPrefix(url, "http") {
			t.Fatalf("start moto_server: it ended: %s", url)
		}
		return url
	case <-time.After(motoStart):
		t.Fatalf("start moto_server: not ready after %s", motoStart)
	}
	return ""
}

// watch reads the server's log to its end, so that the log never fills the pipe. It sends the URL that the server says it has,
// or, if it ends without, all that it said.
func watch(log io.Reader, address chan<- string) {
	var said strings.Builder
	found := false
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if found {
			continue
		}
		said.WriteString(lines.Text() + "\n")
		if m := motoAddress.FindStringSubmatch(lines.Text()); m != nil {
			found = true
			address <- m[1]
		}
	}
	if !found {
		address <- said.String()
	}
}
