package uplink

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxSessions bounds the cache: the stream's endpoint, the credential provider's, and a change of each.
const maxSessions = 4

// sessionSaveEvery is how old the session on disk may be. Each connection brings a new one; the one before resumes as well
// (a ticket lasts up to seven days, RFC 8446 section 4.6.1), and the flash is spared.
const sessionSaveEvery = time.Hour

// maxSessionFile is more than four sessions with their certificate chains take.
const maxSessionFile = 256 << 10

// sessions keeps TLS sessions in memory and, with a path, on disk, so that also the first connection after a restart resumes.
// It implements tls.ClientSessionCache.
type sessions struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	m     map[string]*tls.ClientSessionState
	order []string             // of keys, the oldest first
	saved map[string]time.Time // when each key's session was last written, by the monotonic clock
	news  []byte               // for the file, not begun to be written
	busy  bool                 // somebody writes the file

	// Of whoever writes the file.
	told   bool // that it cannot be written
	writer sync.WaitGroup
}

// A savedSession is one session in the file.
type savedSession struct {
	Key    string
	Ticket []byte // as the server gave it
	State  []byte // tls.SessionState.Bytes
}

func newSessions(path string, log *slog.Logger) *sessions {
	s := &sessions{path: path, log: log, m: map[string]*tls.ClientSessionState{}, saved: map[string]time.Time{}}
	if path != "" {
		if err := s.load(); err != nil {
			log.Info("TLS sessions are not resumed: the next connection costs a whole handshake", slog.String("error", err.Error()))
		}
	}
	return s
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cs, ok := s.m[key]
	return cs, ok
}

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, cs *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cs == nil { // it cannot be resumed
		if _, ok := s.m[key]; ok {
			s.drop(key)
			s.save()
		}
		return
	}
	if _, ok := s.m[key]; !ok {
		if len(s.order) == maxSessions {
			s.drop(s.order[0])
		}
		s.order = append(s.order, key)
	}
	s.m[key] = cs
	if last, ok := s.saved[key]; !ok || time.Since(last) >= sessionSaveEvery {
		s.saved[key] = time.Now()
		s.save()
	}
}

// drop forgets a key. The lock is held.
func (s *sessions) drop(key string) {
	delete(s.m, key)
	delete(s.saved, key)
	for i, k := range s.order {
		if k == key {
			s.order = append(s.order[:i:i], s.order[i+1:]...)
			break
		}
	}
}

func (s *sessions) load() error {
	text, err := readSmall(s.path, maxSessionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading TLS sessions: %w", err)
	}
	var list []savedSession
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("reading TLS sessions of %s: %w", s.path, err)
	}
	for _, e := range list[:min(len(list), maxSessions)] {
		state, err := tls.ParseSessionState(e.State)
		if err != nil {
			return fmt.Errorf("reading TLS sessions of %s: %w", s.path, err)
		}
		cs, err := tls.NewResumptionState(e.Ticket, state)
		if err != nil {
			return fmt.Errorf("reading TLS sessions of %s: %w", s.path, err)
		}
		if _, ok := s.m[e.Key]; !ok {
			s.order = append(s.order, e.Key)
		}
		s.m[e.Key] = cs
	}
	return nil
}

// save has all sessions written. The lock is held. It waits for nothing: a handshake, and with it a call, must not hang with the disk.
// A session that is lost costs a handshake and nothing else.
func (s *sessions) save() {
	if s.path == "" {
		return
	}
	s.news = s.text()
	if !s.busy {
		s.busy = true
		s.writer.Go(s.writeNews)
	}
}

// writeNews writes the file until it has all.
func (s *sessions) writeNews() {
	for {
		s.mu.Lock()
		text := s.news
		s.news, s.busy = nil, text != nil
		s.mu.Unlock()
		if text == nil {
			return
		}
		err := writeSmall(s.path, text)
		if err != nil && !s.told {
			s.log.Warn("TLS sessions cannot be kept: connections after a restart cost more", slog.String("error", err.Error()))
		}
		s.told = err != nil
	}
}

// text is what the file holds. The lock is held.
func (s *sessions) text() []byte {
	list := make([]savedSession, 0, len(s.order))
	for _, key := range s.order {
		ticket, state, err := s.m[key].ResumptionState()
		if err != nil || state == nil {
			continue // of a kind that cannot be written
		}
		b, err := state.Bytes()
		if err != nil {
			continue
		}
		list = append(list, savedSession{Key: key, Ticket: ticket, State: b})
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and bytes can always be written
	}
	return text
}

// writeSmall replaces a file that only its owner may read. It is whole or the old one, but nothing waits for the disk: what
// is in it can be missed.
func writeSmall(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to tell
	}
	return err
}

// readSmall reads a file that should be small.
func readSmall(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that it may have", path, info.Size(), most)
	}
	return os.ReadFile(path)
}
