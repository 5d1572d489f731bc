package gps_test

import (
	"context"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/gps"
)

// mute is a socket to which nobody sends.
type mute struct {
	net.PacketConn
	deadline *atomic.Int64 // of the next read, from when it was set, ns
	closed   chan struct{}
}

func (m mute) SetReadDeadline(at time.Time) error {
	m.deadline.Store(int64(time.Until(at)))
	return nil
}

func (m mute) ReadFrom([]byte) (int, net.Addr, error) {
	select {
	case <-time.After(time.Duration(m.deadline.Load())):
		return 0, nil, os.ErrDeadlineExceeded
	case <-m.closed:
		return 0, nil, net.ErrClosed
	}
}

func (m mute) Close() error {
	close(m.closed)
	return nil
}

// It is not opened anew, as others are after a while of silence.
func TestAUDPSourceThatIsSilentCostsFewRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rounds := 0
		r, err := gps.New(gps.Options{Source: "udp://127.0.0.1:1", Pulse: func(time.Duration) { rounds++ }, Listen: func(context.Context, string, string) (net.PacketConn, error) {
			return mute{deadline: new(atomic.Int64), closed: make(chan struct{})}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx, gps.Handler{}) }()
		after(time.Hour + time.Second)
		if s := r.Status(); s.State != gps.StateSilent || !strings.Contains(s.Reason, "3600 s") {
			t.Errorf("%+v", s)
		}
		if rounds > 1000 {
			t.Errorf("%d rounds in an hour of silence", rounds)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
