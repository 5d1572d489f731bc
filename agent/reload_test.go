package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/status"
)

func TestASourceIsReplacedOnceTheOneBeforeHasEnded(t *testing.T) {
	t.Parallel()
	running, said := make(chan string), make(chan string, 10)
	s := agent.NewSource[string]()
	one, two, three := "one", "two", "three"
	s.Replace(&one)
	stop := background(t, func(ctx context.Context) error {
		return s.Run(ctx, func(ctx context.Context, name *string) error {
			running <- *name
			if *name == "three" {
				return nil // a file that was played to its end
			}
			<-ctx.Done()
			said <- *name + " ended"
			return nil
		})
	})
	if got := <-running; got != "one" {
		t.Fatal(got)
	}
	s.Replace(&two)
	if got := <-running; got != "two" || len(said) != 1 {
		t.Fatalf("%s, %d ended", got, len(said))
	}
	s.Replace(nil) // gps.source = "none"
	s.Replace(&three)
	if got := <-running; got != "three" {
		t.Fatal(got)
	}
	s.Replace(&one)
	if got := <-running; got != "one" {
		t.Fatal(got)
	}
	if err := stop(); err != nil || *s.Now() != "one" {
		t.Errorf("%v", err)
	}
	failing := agent.NewSource[string]()
	failing.Replace(&one)
	broken := errors.New("broken")
	if err := failing.Run(t.Context(), func(context.Context, *string) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	none := agent.NewSource[string]()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := none.Run(ctx, nil); err != nil {
		t.Error(err)
	}
}

// TestAReceiverComesAndGoesWithTheConfiguration: none, then a recording, then none again; records follow.
func TestAReceiverComesAndGoesWithTheConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nmea := filepath.Join(r.dir, "drive.nmea")
	if err := os.WriteFile(nmea, []byte("$GPRMC,120000.00,A,4807.0380,N,01131.0000,E,0.0,084.4,231126,,,A*52\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.cfg.OBD.Port = "tcp://127.0.0.1:1" // nobody is there
	r.start()
	with := func(change func(*config.Config)) {
		next := *r.cfg
		change(&next)
		r.agent.Reload(func() (*config.Config, error) { return &next, nil })
	}
	if s := r.agent.Snapshot(); s.GPS.State != "none" || s.Car.State == "none" {
		t.Fatalf("%+v", s.GPS)
	}
	with(func(c *config.Config) { c.GPS.Source = "file:" + nmea })
	r.until("the recording's end", func(s status.Snapshot) bool { return s.GPS.State == "ended" })
	with(func(c *config.Config) {
		c.OBD.Port = config.None
		c.Vehicle.VIN = "1FTBR1XG2MKA12345"
		c.Uplink.Linger = 3 * time.Second
	})
	s := r.agent.Snapshot()
	if s.GPS.State != "none" || s.Car.State != "none" || s.Uplink.Linger != 3 || s.Config.RestartNeeded != nil {
		t.Errorf("%+v %+v %+v", s.GPS, s.Car, s.Config)
	}
	// A mistake that only the adapter's part knows of is refused whole.
	with(func(c *config.Config) {
		c.OBD.Port, c.OBD.MaxRate, c.Uplink.Linger = "tcp://127.0.0.1:1", -1, time.Hour
	})
	if s := r.agent.Snapshot(); !strings.Contains(s.Config.Refused, "maximum rate") || s.Car.State != "none" || s.Uplink.Linger != 3 {
		t.Errorf("%+v %+v", s.Car, s.Config)
	}
	with(func(c *config.Config) { c.Buffer.Dir, c.Status.Listen = "/elsewhere", "127.0.0.1:1" })
	if s := r.agent.Snapshot(); s.Config.Refused != "" || !slices.Equal(s.Config.RestartNeeded, []string{"buffer.dir", "status.listen"}) {
		t.Errorf("%+v", s.Config)
	}
}

// TestThePageOfARunningAgent is the way a browser goes, position and all, and the end of a stream with the agent.
func TestThePageOfARunningAgent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// An address that nobody else comes upon between its two users.
	address := fmt.Sprintf("127.83.%d.%d:8327", os.Getpid()>>8&255, 1+os.Getpid()%250)
	taken, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r.cfg.Status.Listen, r.cfg.Status.PagePosition = address, true
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 50*time.Millisecond, 50*time.Millisecond
	r.simulate(demo.SimOptions{Rate: 10, Seed: 5})
	r.start()
	// The address is taken: the agent runs all the same, says so, and gets it when it is free.
	await(t, "a word in the status log", func() bool {
		text, err := os.ReadFile(r.cfg.Status.Log)
		return err == nil && strings.Contains(string(text), "event=page to=down")
	}, func() string { return "" })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	var resp *http.Response
	await(t, "page", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err = http.DefaultTransport.RoundTrip(req)
		return err == nil
	}, func() string { return "" })
	defer resp.Body.Close()
	from := bufio.NewReader(resp.Body)
	for seen := false; !seen; {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Status status.Snapshot
			Track  [][4]float64
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &v); err != nil {
				t.Fatal(err)
			}
			seen = len(v.Track) > 0 && v.Status.DeviceID == "rig"
		}
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, from); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ends with %v", err)
	}
}
