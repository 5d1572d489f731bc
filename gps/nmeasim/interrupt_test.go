package nmeasim_test

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/creack/pty"

	"obdagent/gps/nmeasim"
)

func TestAWriteThatBlocksEndsWithTheContext(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat(drive(), 20) // far more than a pty holds
	for name, run := range map[string]func(ctx context.Context, t *testing.T) error{
		"a pty that nobody reads": func(ctx context.Context, t *testing.T) error {
			master, slave, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo terminals here: %v", err)
			}
			defer slave.Close()
			defer master.Close()
			return nmeasim.Replay{Log: long, Fast: true}.Run(ctx, master)
		},
		"a connection that nobody reads": func(ctx context.Context, _ *testing.T) error {
			client, server := net.Pipe()
			defer client.Close()
			defer server.Close()
			return nmeasim.Synth{Rate: 10}.Run(ctx, server, func(time.Time) nmeasim.State { return nmeasim.State{} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- run(ctx, t) }()
			select {
			case err := <-done:
				if err != nil || ctx.Err() == nil {
					t.Errorf("ended with %v, context: %v", err, ctx.Err())
				}
			case <-time.After(20 * time.Second):
				t.Fatal("still blocked")
			}
		})
	}
}

func TestAConnectionCanBeWrittenToAfterARun(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (nmeasim.Replay{Log: drive(), Fast: true}).Run(ctx, server); err != nil {
		t.Fatal(err)
	}
	got := make(chan int, 1)
	go func() {
		n, _ := client.Read(make([]byte, 10))
		got <- n
	}()
	if _, err := server.Write([]byte("$")); err != nil || <-got != 1 {
		t.Errorf("a write after the run: %v", err)
	}
}
