package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"obdagent/agent/status"
)

const (
	// boardPatience is how long a test waits for what a board does in seconds: this one is emulated, a hundred times slower on a
	// machine that does much else.
	boardPatience = 15 * time.Minute
	// gateway is the board's name for the machine that it runs on: what is asked of it there reaches the loopback here.
	gateway = "10.0.2.2"
)

// A board is Debian for arm64 with systemd and udev in QEMU: two processors, a disk, a network card, and two USB serial chips that can
// be plugged in and pulled out. It has no clock: each time that it is switched on it believes that it is 1970.
//
// What QEMU's disk took survives its being killed, as what a real disk's flash took survives a power cut. What the board's kernel
// had not written out does not.
type board struct {
	t    *testing.T
	base string // of base.sh: vmlinuz and initrd
	dir  string // disk.img, stick.img and the sockets

	on      time.Time // when it was switched on
	ended   chan struct{}
	process *os.Process
	control *json.Decoder // QEMU's own
	orders  net.Conn
	hand    net.Conn // rig's
	answers *json.Decoder
	eye     net.Conn
	reads   sync.WaitGroup

	pulls map[string]func() // by chip: what is plugged in

	mu   sync.Mutex
	seen sighting         // the last
	runs map[string]*life // of the daemon, by boot and process
}

// A sighting is what rig tells of the daemon; Snapshot is nil if it did not answer.
type sighting struct {
	BootID   string           `json:"boot_id"`
	Boottime time.Duration    `json:"boottime_ns"`
	Unsynced int              `json:"unsynced"` // lines that rig has written in this boot and not synced
	Snapshot *status.Snapshot `json:"snapshot"`
}

// newBoard makes a board whose disk is a copy of base's, and a stick with the files.
func newBoard(t *testing.T, base string, stick map[string]string) *board {
	t.Helper()
	b := &board{t: t, base: base, dir: shortDir(t), pulls: map[string]func(){}, runs: map[string]*life{}}
	b.tool("cp", "--sparse=always", filepath.Join(base, "disk.img"), b.path("disk.img"))
	for name, file := range stick {
		b.tool("install", "-D", file, b.path("stick", name))
	}
	b.tool("mkfs.ext4", "-q", "-L", "stick", "-d", b.path("stick"), b.path("stick.img"), "64M")
	t.Cleanup(b.cut)
	return b
}

func (b *board) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

// tool runs a program of this machine.
func (b *board) tool(name string, args ...string) string {
	b.t.Helper()
	c := exec.CommandContext(b.t.Context(), name, args...)
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if path, err := exec.LookPath("/sbin/" + name); err == nil {
		c.Path, c.Err = path, nil
	}
	out, err := c.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// power switches the board on. It returns when rig can be told to do things, or with wait false at once.
func (b *board) power() {
	b.t.Helper()
	listen := func(name string) *net.UnixListener {
		_ = os.Remove(b.path(name)) // of the time before
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.path(name)})
		if err != nil {
			b.t.Fatal(err)
		}
		return l
	}
	sockets := []*net.UnixListener{listen("qmp"), listen("hand"), listen("eye")}
	for _, chip := range []string{"car", "gps"} {
		_ = os.Remove(b.path(chip))
	}
	args := []string{"-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "256", "-display", "none", "-nodefaults", "-no-reboot",
		"-rtc", "base=1970-01-01T00:00:00,clock=vm",
		"-kernel", filepath.Join(b.base, "vmlinuz"), "-initrd", filepath.Join(b.base, "initrd"), "-append", "console=ttyAMA0 quiet",
		"-serial", "file:" + b.path("console"), "-qmp", "unix:" + b.path("qmp"),
		"-drive", "file=" + b.path("disk.img") + ",format=raw,if=none,id=disk,cache=writeback", "-device", "virtio-blk-pci,drive=disk",
		"-drive", "file=" + b.path("stick.img") + ",format=raw,if=none,id=stick,readonly=on", "-device", "virtio-blk-pci,drive=stick",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=hand,path=" + b.path("hand"), "-device", "virtserialport,chardev=hand,name=hand",
		"-chardev", "socket,id=eye,path=" + b.path("eye"), "-device", "virtserialport,chardev=eye,name=eye",
		"-device", "qemu-xhci,id=usb"}
	for i, chip := range []string{"car", "gps"} {
		// FTDI chips without a serial number. Who connects to the socket plugs the chip in.
		args = append(args, "-chardev", "socket,server=on,wait=off,id="+chip+",path="+b.path(chip),
			"-device", fmt.Sprintf("usb-serial,bus=usb.0,port=%d,chardev=%s,serial=", i+1, chip))
	}
	c := exec.Command("qemu-system-aarch64", args...)
	said, err := os.Create(b.path("qemu"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer said.Close() //nolint:errcheck // QEMU has its own
	c.Stdout, c.Stderr = said, said
	// It ends with the test, however that ends.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	b.on = time.Now()
	go func() {
		runtime.LockOSThread() // Pdeathsig is sent when the thread ends that started the process
		defer close(ended)
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // it is ended by a signal
		}
	}()
	if err := <-started; err != nil {
		b.t.Fatal(err)
	}
	b.process, b.ended = c.Process, ended
	conns := make([]net.Conn, len(sockets))
	for i, l := range sockets {
		_ = l.SetDeadline(time.Now().Add(patience))
		if conns[i], err = l.Accept(); err != nil {
			b.t.Fatalf("QEMU does not come: %v\n%s", err, b.said())
		}
		_ = l.Close()
	}
	b.orders, b.hand, b.eye = conns[0], conns[1], conns[2]
	b.control, b.answers = json.NewDecoder(b.orders), json.NewDecoder(b.hand)
	b.qmp("qmp_capabilities", map[string]any{})
	b.mu.Lock()
	b.seen = sighting{}
	b.mu.Unlock()
	b.reads.Go(b.watch)
}

// watch takes what rig tells until the board is off.
func (b *board) watch() {
	for in := json.NewDecoder(b.eye); ; {
		var s sighting
		if err := in.Decode(&s); err != nil {
			return
		}
		b.mu.Lock()
		b.seen = s
		if s.Snapshot != nil && s.Snapshot.BootID == s.BootID {
			key := fmt.Sprint(s.BootID, s.Snapshot.PID)
			if b.runs[key] == nil {
				b.runs[key] = &life{device: s.BootID}
			}
			b.runs[key].see(*s.Snapshot)
			b.runs[key].ended = s.Boottime
		}
		b.mu.Unlock()
	}
}

// sight is what rig told last.
func (b *board) sight() sighting {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// announced is how many records of a boot the daemon said were on disk, and the boot's age when it was last heard of.
func (b *board) announced(boot string) (records uint64, last time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.runs {
		if l.device == boot {
			records += l.committed
			last = max(last, l.ended)
		}
	}
	return records, last
}

// cut takes the power away. It does nothing to a board that is off.
func (b *board) cut() {
	if b.process == nil {
		return
	}
	_ = b.process.Kill() // it may have ended by itself
	b.off()
}

// off waits for the board's end.
func (b *board) off() {
	select {
	case <-b.ended:
	case <-time.After(boardPatience):
		_ = b.process.Kill()
		<-b.ended
		b.t.Errorf("the board was not off within %v", boardPatience)
	}
	for _, c := range []net.Conn{b.orders, b.hand, b.eye} {
		if c != nil {
			_ = c.Close()
		}
	}
	b.reads.Wait()
	for chip := range b.pulls {
		b.pull(chip)
	}
	b.process = nil
	if b.t.Failed() {
		b.t.Log(b.said())
	}
}

// said is what QEMU and the board's console said last.
func (b *board) said() string {
	qemu, _ := os.ReadFile(b.path("qemu"))
	console, _ := os.ReadFile(b.path("console"))
	return fmt.Sprintf("QEMU said %s\nthe console ends with\n%s", qemu, console[max(0, len(console)-3000):])
}

// qmp tells QEMU to do something.
func (b *board) qmp(execute string, arguments map[string]any) {
	b.t.Helper()
	_ = b.orders.SetDeadline(time.Now().Add(patience))
	if err := json.NewEncoder(b.orders).Encode(map[string]any{"execute": execute, "arguments": arguments}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  json.RawMessage `json:"error"`
		}
		if err := b.control.Decode(&answer); err != nil || answer.Error != nil {
			b.t.Fatalf("QEMU, %s: %v %s", execute, err, answer.Error)
		}
		if answer.Return != nil {
			return // else it is an event, or the greeting
		}
	}
}

// coverage puts the board's network up or down, as the carrier of a modem is.
func (b *board) coverage(up bool) {
	b.t.Helper()
	b.qmp("set_link", map[string]any{"name": "net", "up": up})
}

// try runs a shell's line on the board, as root.
func (b *board) try(line string) (string, error) {
	return b.give(line, "")
}

func (b *board) give(line, stdin string) (string, error) {
	// A line that waits for an answer of the network or of a port may take its time.
	_ = b.hand.SetDeadline(time.Now().Add(boardPatience))
	if err := json.NewEncoder(b.hand).Encode(map[string]any{"args": []string{"/bin/sh", "-c", line}, "stdin": stdin}); err != nil {
		return "", fmt.Errorf("tell the board to run %s: %w", line, err)
	}
	var answer struct{ Out, Err string }
	if err := b.answers.Decode(&answer); err != nil {
		return "", fmt.Errorf("wait for the board to run %s: %w", line, err)
	}
	if answer.Err != "" {
		return strings.TrimSpace(answer.Out), errors.New(answer.Err)
	}
	return strings.TrimSpace(answer.Out), nil
}

// run runs a line that must succeed.
func (b *board) run(line string) string {
	b.t.Helper()
	out, err := b.try(line)
	if err != nil {
		journal, _ := b.try("journalctl --no-pager --lines=60")
		b.t.Fatalf("%s: %v\n%s\n%s", line, err, out, journal)
	}
	return out
}

// until waits for the daemon to be as it should be, and says when it was.
func (b *board) until(what string, ok func(status.Snapshot) bool) time.Time {
	b.t.Helper()
	return b.await(what, func() bool { s := b.sight(); return s.Snapshot != nil && ok(*s.Snapshot) })
}

// await waits for a condition, and says when it was met.
func (b *board) await(what string, ok func() bool) time.Time {
	b.t.Helper()
	deadline := time.NewTimer(boardPatience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-b.ended:
			b.t.Fatalf("no %s: the board is off\n%s", what, b.said())
		case <-deadline.C:
			var said strings.Builder
			if s := b.sight(); s.Snapshot != nil {
				_ = s.Snapshot.Render(&said)
			}
			journal, err := b.try("journalctl --no-pager --lines=60 --unit=obdagent --unit=rig; networkctl status --no-pager --all")
			b.t.Fatalf("no %s within %v\n%s\n%v\n%s", what, boardPatience, said.String(), err, journal)
		}
	}
	return time.Now()
}

// plug plugs a device into a chip, and the chip into the board.
func (b *board) plug(chip string, device func(context.Context, io.ReadWriteCloser) error) {
	b.t.Helper()
	conn, err := net.Dial("unix", b.path(chip))
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	// That the board, or its chip, is gone is no news to a device.
	go func() { defer close(done); _ = device(ctx, conn) }()
	b.pulls[chip] = func() { cancel(); _ = conn.Close(); <-done }
}

// pull takes a chip out. It does nothing to one that is out.
func (b *board) pull(chip string) {
	if out := b.pulls[chip]; out != nil {
		out()
		delete(b.pulls, chip)
	}
}

// certificate makes a certificate for the gateway, and writes it to a file for those who shall trust it.
func certificate(t *testing.T, file string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "board"}, IPAddresses: []net.IP{net.ParseIP(gateway)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, text.String())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
