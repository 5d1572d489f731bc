package gps_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/gps"
)

func TestAfterASilenceTheFirstSentenceIsNotTakenForARepeatedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		host, port := net.Pipe()
		r, err := gps.New(gps.Options{Source: "tcp://gps:1", Dial: func(context.Context, string, string) (net.Conn, error) { return port, nil }})
		if err != nil {
			t.Fatal(err)
		}
		var states []string
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = r.Run(ctx, gps.Handler{State: func(c gps.StateChange) { states = append(states, string(c.To)) }})
		})
		say := func(n int) {
			for _, sentence := range strings.SplitAfter(string(turn(n, false)), "\n") {
				if _, err := host.Write([]byte(sentence)); err != nil {
					t.Fatal(err)
				}
				after(100 * time.Millisecond)
			}
		}
		for n := range 3 {
			say(n)
			after(time.Second)
		}
		after(8 * time.Second)
		say(12)
		after(time.Second)
		cancel()
		wg.Wait()
		if got := strings.Join(states, " "); got != "probing fix silent fix closed" {
			t.Errorf("states %q", got)
		}
	})
}
