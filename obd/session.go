package obd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// Deadlines, one per class of command. They bound the time to the prompt, not to the first byte.
const (
	// deadlineAT is for commands that the adapter answers alone, in some ms; Bluetooth adds some 100 ms.
	deadlineAT = time.Second
	// deadlineSearch is for the first request: the adapter tries all protocols, K-line by 5 baud among them (DSJ, "Selecting
	// protocols"; slow clones need all of it).
	deadlineSearch = 35 * time.Second
	// deadlineOBD is for a request on a known protocol: the adapter's own timeout is at most 1.02 s (ATST FF).
	deadlineOBD = 2 * time.Second
	// deadlineSlow is for answers of several lines, and for K-line, which may have to be woken again.
	deadlineSlow = 5 * time.Second
	// deadlineWrite bounds a write: a request is shorter than any buffer on the way, so a blocked write is a dead line.
	deadlineWrite = 2 * time.Second
	// deadlineSync is how long a late answer is waited for before the port is given up.
	deadlineSync = 6 * time.Second
	// answerTime is how long an ECU takes on CAN (P2 of ISO 15765-4: 50 ms at most), with a margin.
	answerTime = 64 * time.Millisecond
	// pendingTime is how long an ECU may take that has said that its answer is pending (7F xx 78): P2* of ISO 14229-2, 5 s at most.
	pendingTime = 5 * time.Second
	// gatherMax bounds the wait for the rest of a reply that has begun; see gather.
	gatherMax = 30 * time.Millisecond
	// quiet is the silence after which nothing more is expected of an adapter that was interrupted.
	quiet = 300 * time.Millisecond
)

// maxReply bounds one reply. The longest honest one, eight ECUs with a message of 4095 bytes each, is not asked for; a
// line that babbles must not fill the memory.
const maxReply = 16 << 10

// A session speaks the ELM327's dialogue on a Conn: one command, one reply, ended by the prompt.
// It is used by one goroutine.
type session struct {
	conn  Conn
	now   func() time.Duration
	log   *slog.Logger
	buf   []byte
	out   []byte  // of the command under way
	data  [9]byte // of the last single frame, see one
	chunk [512]byte
	// dirty is set while bytes of an earlier reply may still arrive. Nothing is asked before they are out of the way.
	dirty bool
	// identity is what ATI answered, once known.
	identity string
	// echoless is set once the adapter was seen not to echo.
	echoless bool
	// sleepAt is when the chip goes to sleep, or went, if it has said so; see wake.go.
	sleepAt   time.Time
	sleepSure bool // nothing that is sent keeps it awake
	// dead counts commands in a row that got no prompt.
	dead int
	// perByte is how long a byte takes on the line, if the rest of a reply is to be gathered; else 0.
	perByte time.Duration
	length  int // of the last whole reply, with its prompt
	// pendingUntil is until when an answer may come that the adapter has not waited for. Nothing is asked before: it would be taken for that.
	pendingUntil time.Time
	announces    bool // this car has said that an answer is pending
	timer        *time.Timer
	pulse        func(within time.Duration) // Options.Pulse
}

// roundMost bounds what Run does from one read to the next, or to the next look for a port: writes of 2 s, a connection of 5 s, the
// handler, small files.
const roundMost = 30 * time.Second

// timing is when the parts of an exchange happened.
type timing struct {
	written, first, prompt time.Duration
}

func (t timing) midpoint() time.Duration { return t.written + (t.first-t.written)/2 }
func (t timing) latency() time.Duration  { return t.first - t.written }

// whole is how long the exchange took: signs of progress (SEARCHING, BUS INIT) may come long before the data.
func (t timing) whole() time.Duration { return t.prompt - t.written }

// exchange sends cmd and a CR (never LF, which aborts the command: DSJ p. 9) and reads up to the prompt.
// The reply is valid until the next call.
//
// Errors: ErrTimeout, ErrPortGone, ErrMalformed for a reply without end, or that of ctx.
func (s *session) exchange(ctx context.Context, cmd string, deadline time.Duration) ([]byte, timing, error) {
	if wait := time.Until(s.pendingUntil); wait > 0 {
		if err := s.idle(ctx, s.pendingUntil); err != nil {
			return nil, timing{}, err
		}
	}
	if s.dirty {
		if err := s.resync(ctx); err != nil {
			return nil, timing{}, err
		}
	}
	return s.ask(ctx, cmd, deadline)
}

func (s *session) ask(ctx context.Context, cmd string, deadline time.Duration) ([]byte, timing, error) {
	var t timing
	if err := s.write(ctx, cmd, "\r"); err != nil {
		return nil, t, fmt.Errorf("%s: %w", cmd, err)
	}
	t.written = s.now()
	raw, first, err := s.readPrompt(ctx, time.Now().Add(deadline))
	t.first, t.prompt = first, s.now()
	switch {
	case errors.Is(err, ErrTimeout):
		s.dirty = true
		s.dead++
		return nil, t, fmt.Errorf("%s: %w (%v, %d bytes)", cmd, err, deadline, len(raw))
	case err != nil:
		s.dirty = true
		return nil, t, fmt.Errorf("%s: %w", cmd, err)
	}
	s.dead = 0
	if s.log.Enabled(ctx, slog.LevelDebug) { // else the arguments alone would cost three allocations
		s.log.Debug("exchange", "cmd", cmd, "reply", string(raw), "latency", t.latency())
	}
	return raw, t, nil
}

// readPrompt collects bytes up to the prompt. What follows the prompt in the same read does not belong to the reply: a
// NUL or a line end does not matter, anything else makes the session dirty.
func (s *session) readPrompt(ctx context.Context, deadline time.Time) (raw []byte, first time.Duration, err error) {
	s.buf = s.buf[:0]
	for {
		n, err := s.read(ctx, deadline)
		if n > 0 && len(s.buf) == 0 {
			first = s.now()
		}
		if i := bytes.IndexByte(s.chunk[:n], '>'); i >= 0 {
			s.buf = append(s.buf, s.chunk[:i]...)
			if len(bytes.Trim(s.chunk[i+1:n], "\x00\r\n ")) > 0 {
				s.dirty = true
			}
			s.notice(s.buf)
			s.length = len(s.buf) + 1
			return s.buf, first, nil
		}
		begun := len(s.buf) == 0 && n > 0
		s.buf = append(s.buf, s.chunk[:n]...)
		if err != nil {
			return s.buf, first, err
		}
		if len(s.buf) > maxReply {
			return nil, first, fmt.Errorf("no prompt in %d bytes: %w", len(s.buf), ErrMalformed)
		}
		if begun {
			s.gather(ctx)
		}
	}
}

// gather lets the rest of a reply arrive, taken to be as long as the one before. The first byte, which dates the value, has been read as it
// came; with each further one the process would be woken again, for nothing where requests are far apart. Whatever is
// missing then is waited for as ever.
func (s *session) gather(ctx context.Context) {
	rest := s.length - len(s.buf)
	if s.perByte == 0 || rest <= 0 {
		return
	}
	wait := min(time.Duration(rest)*s.perByte, gatherMax)
	if s.timer == nil {
		s.timer = time.NewTimer(wait)
	} else {
		s.timer.Reset(wait)
	}
	select {
	case <-ctx.Done():
		s.timer.Stop()
	case <-s.timer.C:
	}
}

// read reads once into chunk. Its errors are ErrTimeout, ErrPortGone or that of ctx.
func (s *session) read(ctx context.Context, deadline time.Time) (int, error) {
	if s.pulse != nil {
		s.pulse(time.Until(deadline) + roundMost)
	}
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrPortGone, err)
	}
	// The watch in watch() moves the deadline into the past when ctx ends; looked at here, no order of the two can miss it.
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	n, err := s.conn.Read(s.chunk[:])
	switch {
	case gone(err):
		return n, fmt.Errorf("%w: %w", ErrPortGone, err)
	case err != nil && ctx.Err() != nil:
		return n, ctx.Err()
	case err != nil && !time.Now().Before(deadline):
		return n, ErrTimeout
	}
	return n, nil
}

// watch makes the end of ctx interrupt a read. The returned function ends the watch.
func (s *session) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		// An error means that the port is closed, and then no read is under way.
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	})
}

func (s *session) write(ctx context.Context, text, end string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.drowsy() && !s.sleepSure && !s.asleep() {
		s.sleepAt = time.Time{}
	}
	s.out = append(append(s.out[:0], text...), end...)
	if w, ok := s.conn.(interface{ SetWriteDeadline(time.Time) error }); ok {
		if err := w.SetWriteDeadline(time.Now().Add(deadlineWrite)); err != nil {
			return fmt.Errorf("%w: %w", ErrPortGone, err)
		}
	}
	if _, err := s.conn.Write(s.out); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.dirty = true
			return fmt.Errorf("write: %w", ErrTimeout)
		}
		return fmt.Errorf("%w: %w", ErrPortGone, err)
	}
	return nil
}

// idle waits until the time is up and reads what arrives unasked. Such bytes make the session dirty; a reset of the adapter shows
// up here, as do its alerts. Errors: ErrPortGone, ErrLVReset, errStirred, or that of ctx.
func (s *session) idle(ctx context.Context, until time.Time) error {
	s.buf = s.buf[:0]
	for {
		n, err := s.read(ctx, until)
		if n > 0 {
			s.buf = append(s.buf, s.chunk[:n]...)
			if len(bytes.Trim(s.chunk[:n], "\x00\r\n ")) > 0 {
				s.dirty = true
				if s.asleep() {
					return errStirred
				}
			}
			s.notice(s.buf)
			if strings.Contains(squeeze(string(s.buf)), "LVRESET") {
				return fmt.Errorf("while idle: %w", ErrLVReset)
			}
			if len(s.buf) > maxReply {
				return fmt.Errorf("while idle: %w", ErrTalksUnasked)
			}
		}
		if errors.Is(err, ErrTimeout) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// drain reads and forgets until nothing has come for the given time, at most until the deadline.
func (s *session) drain(ctx context.Context, silence time.Duration, deadline time.Time) error {
	for {
		until := time.Now().Add(silence)
		if until.After(deadline) {
			until = deadline
		}
		n, err := s.read(ctx, until)
		if errors.Is(err, ErrTimeout) && n == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, ErrTimeout) {
			return err
		}
		if !time.Now().Before(deadline) {
			return nil
		}
	}
}

// resync makes sure that no byte of an earlier reply can be taken for the next one: a space aborts what the adapter may still
// be doing and is ignored by one that is not busy (freediag#84); what comes then is forgotten; and then the adapter is
// asked for its name until it is its name that comes back. Adapters answer in order, so all that is older is then gone.
func (s *session) resync(ctx context.Context) error {
	deadline := time.Now().Add(deadlineSync)
	if err := s.write(ctx, " ", ""); err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	if err := s.drain(ctx, quiet, deadline); err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	if err := s.write(ctx, "ATI", "\r"); err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	for {
		raw, _, err := s.readPrompt(ctx, deadline)
		if err != nil {
			if errors.Is(err, ErrTimeout) {
				s.dead++
			}
			return fmt.Errorf("resync: %w", err)
		}
		text, err := textReply("ATI", raw)
		if err == nil && s.isIdentity(text) {
			break
		}
	}
	// The command that was given up may itself have been an ATI: then a second name follows.
	if err := s.drain(ctx, quiet, deadline); err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	s.dirty, s.dead = false, 0
	if !s.echoless {
		return nil
	}
	// The name may have been that of a chip which has restarted meanwhile: then it echoes again.
	raw, _, err := s.ask(ctx, "ATI", deadlineAT)
	if err == nil && bytes.Contains(raw, []byte("ATI")) {
		err = ErrRestarted
	}
	if err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	return nil
}

// isIdentity tells whether text is the adapter's answer to ATI.
func (s *session) isIdentity(text string) bool {
	if s.identity != "" {
		return strings.Contains(text, s.identity)
	}
	return looksLikeELM(text)
}

// looksLikeELM tells whether an answer to ATI is that of an ELM327 or of one that poses as such: all known clones and the
// STN chips answer ELM327 vX.Y.
func looksLikeELM(text string) bool { return strings.Contains(squeeze(text), "ELM327") }

// at sends an AT command and returns its answer. ErrUnknownCommand means that this adapter lacks it.
func (s *session) at(ctx context.Context, cmd string, deadline time.Duration) (string, error) {
	raw, _, err := s.exchange(ctx, cmd, deadline)
	if err != nil {
		return "", err
	}
	return textReply(cmd, raw)
}

// one asks the car for what one ECU answers in one message, and returns that message from the service byte on. echo is what
// must follow the service byte: the PID, the data identifier, or nothing where several PIDs are asked. The bytes are valid
// until the next call.
func (s *session) one(ctx context.Context, cmd string, service byte, echo []byte, deadline time.Duration, from sender) ([]byte, timing, error) {
	raw, t, err := s.exchange(ctx, cmd, deadline)
	if err != nil {
		return nil, t, err
	}
	if data, ok := oneFrame(raw, from, &s.data); ok && answers(data, service, echo) {
		return data, t, nil
	}
	msgs, err := s.parse(cmd, raw, from)
	if err != nil {
		return nil, t, err
	}
	data, err := answerTo(msgs, service, echo)
	if errors.Is(err, ErrMismatch) {
		s.dirty = true
	}
	return data, t, err
}

// request asks the car.
func (s *session) request(ctx context.Context, cmd string, deadline time.Duration, from sender) ([]message, timing, error) {
	raw, t, err := s.exchange(ctx, cmd, deadline)
	if err != nil {
		return nil, t, err
	}
	msgs, err := s.parse(cmd, raw, from)
	return msgs, t, err
}

func (s *session) parse(cmd string, raw []byte, from sender) ([]message, error) {
	msgs, err := parseReply(cmd, raw, from)
	if slices.ContainsFunc(msgs, message.pending) {
		s.announces, s.pendingUntil = true, time.Now().Add(pendingTime)
	}
	if errors.Is(err, ErrMalformed) {
		if again := restarted(cmd, raw); again != nil {
			s.dirty = true
			return nil, again
		}
	}
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrStopped) {
		// Something else than a reply to this command stood there; the rest of it may follow.
		s.dirty = true
	}
	return msgs, err
}
