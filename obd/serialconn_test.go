package obd_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"obdagent/obd"
)

// serialPair is a serial device as this package opens it, and its other side.
func serialPair(t *testing.T) (conn obd.Conn, other *os.File) {
	t.Helper()
	master, slave := openPTY(t)
	t.Cleanup(func() { _ = master.Close() })
	conn, err := obd.OpenSerial(slave.Name(), 38400)
	if err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	return conn, master
}

func TestSerialReadWaitsForBytesAndForItsDeadline(t *testing.T) {
	t.Parallel()
	conn, other := serialPair(t)
	buf := make([]byte, 16)
	for _, piece := range []string{"7", "E803410D32", "\r\r>"} { // what lies there, and what comes while it waits
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("of an empty line: %d bytes, %v", n, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		written := make(chan error, 1)
		go func() {
			_, err := io.WriteString(other, piece)
			written <- err
		}()
		got := ""
		for len(got) < len(piece) {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:n])
		}
		if err := <-written; err != nil || got != piece {
			t.Errorf("got %q, want %q; %v", got, piece, err)
		}
	}
	// A deadline that is moved into the past reaches a read that is under way.
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(buf)
		ended <- err
	}()
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("interrupted: %v", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := conn.Read(buf)
		ended <- err
	}()
	_ = other.Close()
	if err := <-ended; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("of a pulled cable: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestSerialWriteIsBoundedWhereNobodyReads(t *testing.T) {
	t.Parallel()
	conn, other := serialPair(t)
	defer conn.Close()
	w, ok := conn.(interface{ SetWriteDeadline(time.Time) error })
	if !ok {
		t.Fatal("a serial line has no write deadline")
	}
	if err := w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Write(make([]byte, 1<<20))
	if n == 0 || n == 1<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if err := unix.SetNonblock(int(other.Fd()), true); err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	if _, err := conn.Write([]byte("ATI\r")); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("to a pulled cable: %v", err)
	}
}

// paced is a line on which a reply is under way: each byte takes its time.
type paced struct {
	reply    string
	begun    time.Time // when the first byte is there
	perByte  time.Duration
	reads, n int
	deadline time.Time
}

func (p *paced) Read(b []byte) (int, error) {
	p.reads++
	arrived := func() int {
		if time.Now().Before(p.begun) {
			return 0
		}
		return min(len(p.reply), 1+int(time.Since(p.begun)/p.perByte))
	}
	for arrived() == p.n {
		if !time.Now().Before(p.deadline) {
			return 0, os.ErrDeadlineExceeded
		}
		pass(10 * time.Microsecond)
	}
	n := copy(b, p.reply[p.n:arrived()])
	p.n += n
	return n, nil
}
func (p *paced) Write(b []byte) (int, error)       { return len(b), nil }
func (p *paced) SetReadDeadline(t time.Time) error { p.deadline = t; return nil }
func (p *paced) Close() error                      { return nil }

// TestTheRestOfAReplyIsGathered counts reads: the first byte is read when it is there, the others together.
func TestTheRestOfAReplyIsGathered(t *testing.T) {
	t.Parallel()
	const perByte, reply = 260 * time.Microsecond, "7E803410D32\r\r>"
	for _, c := range []struct {
		name     string
		last     int // length of the reply before
		perByte  time.Duration
		min, max int // reads
	}{
		{"as long as the last", len(reply), perByte, 2, 3},
		{"shorter than the last", 2 * len(reply), perByte, 2, 2},
		{"longer than the last", len(reply) - 4, perByte, 3, 7},
		{"the first of all", 0, perByte, 14, 14},
		{"where requests are close", len(reply), 0, 14, 14},
	} {
		synctest.Test(t, func(t *testing.T) {
			line := &paced{reply: reply, begun: time.Now().Add(8 * time.Millisecond), perByte: perByte}
			got, first, err := obd.Gather(t.Context(), line, c.last, c.perByte)
			if err != nil || got != "7E803410D32\r\r" {
				t.Fatalf("%s: %q, %v", c.name, got, err)
			}
			if line.reads < c.min || line.reads > c.max {
				t.Errorf("%s: %d reads", c.name, line.reads)
			}
			if d := first.Sub(line.begun); d < 0 || d > 20*time.Microsecond {
				t.Errorf("%s: the first byte is dated %v late", c.name, d)
			}
			if took := time.Since(line.begun); took > time.Duration(max(c.last, len(reply)))*perByte+time.Millisecond {
				t.Errorf("%s: took %v", c.name, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		line := &paced{reply: reply, begun: start, perByte: 2 * time.Millisecond}
		if _, _, err := obd.Gather(ctx, line, len(reply), 2*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an ended context: %v", err)
		}
		if took := time.Since(start); took > 2*time.Millisecond {
			t.Errorf("it ended after %v", took)
		}
	})
}
