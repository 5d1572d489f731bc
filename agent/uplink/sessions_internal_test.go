package uplink

import (
	"context"
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"testing"
)

// stuck is a handler whose records are waited for until it is closed.
type stuck struct {
	slog.Handler
	entered, leave chan struct{}
}

func (s stuck) Enabled(context.Context, slog.Level) bool { return true }
func (s stuck) Handle(context.Context, slog.Record) error {
	close(s.entered)
	<-s.leave
	return nil
}

// What writes the file is made to hang where it says that it could not.
func TestAHandshakeDoesNotWaitForTheSessionsFile(t *testing.T) {
	t.Parallel()
	h := stuck{slog.DiscardHandler, make(chan struct{}), make(chan struct{})}
	s := newSessions("", slog.New(h))
	s.path = filepath.Join(t.TempDir(), "no such directory", "tls-sessions")
	s.Put("a", &tls.ClientSessionState{})
	<-h.entered
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Put("b", &tls.ClientSessionState{})
		s.Put("c", &tls.ClientSessionState{})
		if _, ok := s.Get("c"); !ok {
			t.Error("a session is not there while another is written")
		}
	}()
	<-done
	close(h.leave)
	s.writer.Wait()
	if s.news != nil || s.busy {
		t.Error("the news that came meanwhile were not written")
	}
}
