package gps_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/gps"
)

const gpsdVersion = `{"class":"VERSION","release":"3.22","rev":"3.22","proto_major":3,"proto_minor":14}` + "\r\n"

// daemon is a simulated gpsd: it greets, waits to be asked, and then sends what script writes.
type daemon struct {
	greeting string
	script   func(ctx context.Context, say func(format string, args ...any), connection int)
}

// serve answers the dials of one Receiver.
func (d daemon) serve(ctx context.Context, t *testing.T, wg *sync.WaitGroup) func(context.Context, string, string) (net.Conn, error) {
	dials := 0
	return func(_ context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "van:2947" {
			t.Errorf("dialled %s %s", network, address)
		}
		dials++
		connection := dials
		client, server := net.Pipe()
		wg.Go(func() {
			defer server.Close()
			asked, err := bufio.NewReader(server).ReadString('\n')
			if err != nil || !strings.HasPrefix(asked, `?WATCH={"enable":true,"json":true}`) {
				t.Errorf("asked %q, error %v", asked, err)
			}
			_, _ = io.WriteString(server, d.greeting)
			d.script(ctx, func(format string, args ...any) { _, _ = fmt.Fprintf(server, format+"\r\n", args...) }, connection)
		})
		return client, nil
	}
}

// onDaemon runs a Receiver on a simulated gpsd within a bubble.
func onDaemon(t *testing.T, d daemon, test func(b *bench, r *gps.Receiver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		b := &bench{}
		if d.greeting == "" {
			d.greeting = gpsdVersion
		}
		r, err := gps.New(gps.Options{Source: "gpsd://van", Dial: d.serve(ctx, t, &wg)})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = r.Run(ctx, b.handler()) })
		test(b, r)
		cancel()
		wg.Wait()
	})
}

// every calls do once a second until ctx is done.
func every(ctx context.Context, period time.Duration, do func(i int)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for i := 0; ; i++ {
		do(i)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tpvTime is the time of the i-th epoch in gpsd's form.
func tpvTime(i int) string {
	return time.Date(2026, 11, 23, 8, 0, i, 0, time.UTC).Format("2006-01-02T15:04:05.000Z")
}

// tpv is a whole report of the i-th epoch.
func tpv(i int) string {
	return fmt.Sprintf(`{"class":"TPV","device":"/dev/ttyACM0","mode":3,"time":%q,"lat":%.6f,"lon":11.5,"altHAE":567.0,"altMSL":520.0,"speed":20.0,"track":90.5}`,
		tpvTime(i), 48+float64(i)*20/111_195)
}

func TestGpsdReportsBecomeFixes(t *testing.T) {
	t.Parallel()
	onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
		say(`{"class":"DEVICES","devices":[{"class":"DEVICE","path":"/dev/ttyACM0","activated":"2026-11-23T08:00:00.000Z","driver":"u-blox"}]}`)
		say(`{"class":"WATCH","enable":true,"json":true}`)
		every(ctx, time.Second, func(i int) {
			say(`{"class":"SKY","device":"/dev/ttyACM0","hdop":0.9,"uSat":9,"satellites":[{"PRN":1,"used":true}]}`)
			say("%s", tpv(i))
		})
	}}, func(b *bench, r *gps.Receiver) {
		after(10*time.Second + 100*time.Millisecond)
		b.mu.Lock()
		fixes := b.fixes
		b.mu.Unlock()
		if len(fixes) < 10 || len(fixes) > 11 {
			t.Fatalf("%d fixes in 10 s", len(fixes))
		}
		f := fixes[4]
		want := gps.Fix{
			Mono: f.Mono, Done: f.Done, Time: time.Date(2026, 11, 23, 8, 0, 4, 0, time.UTC), TimeOfDay: 8*time.Hour + 4*time.Second,
			Mode: gps.Mode3D, Lat: f.Lat, Lon: 11.5, Alt: 520, Speed: 20, Course: 90.5, HDOP: 0.9, Sats: 9,
		}
		if d := cmp.Diff(want, f); d != "" {
			t.Error(d)
		}
		if d := f.Done - f.Mono; d > 50*time.Millisecond {
			t.Errorf("the fifth epoch was out %s after its report", d)
		}
		if s := r.Status(); s.State != gps.StateFix || s.Port != "gpsd at van:2947" || s.Baud != 0 {
			t.Errorf("%+v", s)
		}
		if h := b.history(); h != "probing fix" {
			t.Errorf("states %q", h)
		}
	})
}

func TestGpsdFieldsMayAllBeAbsentOrNull(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		report string
		check  func(f gps.Fix) bool
	}{
		"nothing at all":           {`{"class":"TPV"}`, func(f gps.Fix) bool { return f.Reason == "gpsd has no fix" && f.Time.IsZero() && f.TimeOfDay == -1 }},
		"mode 0":                   {`{"class":"TPV","mode":0,"time":"2026-11-23T08:00:00Z"}`, func(f gps.Fix) bool { return f.Mode == gps.ModeNone && !f.Time.IsZero() }},
		"mode 1 with old position": {`{"class":"TPV","mode":1,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Mode == gps.ModeNone && f.Lat != f.Lat }},
		"nulls": {`{"class":"TPV","device":null,"mode":2,"time":null,"lat":48.5,"lon":11.0,"speed":null,"track":null,"altMSL":null}`, func(f gps.Fix) bool {
			return f.Mode == gps.Mode2D && f.Lat == 48.5 && f.Speed != f.Speed && f.Course != f.Course && f.Sats == -1
		}},
		"a mode without a position": {`{"class":"TPV","mode":3,"lon":11.0}`, func(f gps.Fix) bool { return f.Reason == "gpsd gives no position" }},
		"zero, zero":                {`{"class":"TPV","mode":3,"lat":0.0,"lon":0.0}`, func(f gps.Fix) bool { return f.Reason == "position is 0,0" }},
		"3D without altitude":       {`{"class":"TPV","mode":3,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Mode == gps.Mode3D && f.Alt != f.Alt }},
		"ellipsoid altitude alone":  {`{"class":"TPV","mode":3,"lat":48.0,"lon":11.0,"altHAE":500,"alt":500}`, func(f gps.Fix) bool { return f.Alt != f.Alt }},
		"gpsd before 3.20":          {`{"class":"TPV","mode":3,"lat":48.0,"lon":11.0,"alt":453}`, func(f gps.Fix) bool { return f.Alt == 453 }},
		"2D with altitude":          {`{"class":"TPV","mode":2,"lat":48.0,"lon":11.0,"altMSL":453}`, func(f gps.Fix) bool { return f.Mode == gps.Mode2D && f.Alt != f.Alt }},
		"differential":              {`{"class":"TPV","mode":3,"status":2,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Mode == gps.ModeDGPS }},
		"RTK":                       {`{"class":"TPV","mode":3,"status":4,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Mode == gps.ModeRTK }},
		"dead reckoning":            {`{"class":"TPV","mode":3,"status":5,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Mode == gps.ModeDR }},
		"a simulator":               {`{"class":"TPV","mode":3,"status":8,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Mode == gps.ModeSimulated }},
		"HDOP of a lost sky":        {`{"class":"SKY","hdop":49.9}` + "\n" + `{"class":"TPV","mode":3,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Reason == "HDOP 49.9" }},
		"satellites as a list":      {`{"class":"SKY","satellites":[{"used":true},{"used":false},{},{"used":true}]}` + "\n" + `{"class":"TPV","mode":3,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Sats == 2 && f.HDOP != f.HDOP }},
		"an unknown dilution":       {`{"class":"SKY","hdop":99.99,"uSat":4}` + "\n" + `{"class":"TPV","mode":3,"lat":48.0,"lon":11.0}`, func(f gps.Fix) bool { return f.Sats == 4 && f.HDOP != f.HDOP }},
		"speed and track absurd":    {`{"class":"TPV","mode":3,"lat":48.0,"lon":11.0,"speed":9999,"track":700}`, func(f gps.Fix) bool { return f.Speed != f.Speed && f.Course != f.Course }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
				say("%s", tc.report)
				<-ctx.Done()
			}}, func(b *bench, _ *gps.Receiver) {
				after(time.Second)
				b.mu.Lock()
				defer b.mu.Unlock()
				if len(b.fixes) != 1 || !tc.check(b.fixes[0]) {
					t.Errorf("%+v", b.fixes)
				}
			})
		})
	}
}

func TestGpsdReportsThatCannotBeAreCountedAndNoFix(t *testing.T) {
	t.Parallel()
	for name, report := range map[string]string{
		"no JSON":            `$GPRMC,1,2`,
		"cut":                `{"class":"TPV","mode":3,"lat":48.0,"lon":11`,
		"latitude 91":        `{"class":"TPV","mode":3,"lat":91.0,"lon":11.0}`,
		"longitude -181":     `{"class":"TPV","mode":3,"lat":48.0,"lon":-181.0}`,
		"mode 7":             `{"class":"TPV","mode":7,"lat":48.0,"lon":11.0}`,
		"a number as text":   `{"class":"TPV","mode":"3","lat":48.0,"lon":11.0}`,
		"a date that is not": `{"class":"TPV","mode":3,"time":"2026-02-30T00:00:00Z","lat":48.0,"lon":11.0}`,
		"NaN":                `{"class":"TPV","mode":3,"lat":nan,"lon":11.0}`,
		"too long":           `{"class":"TPV","mode":3,"lat":48.0,"lon":11.0,"junk":"` + strings.Repeat("x", 20_000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
				say("%s", report)
				<-ctx.Done()
			}}, func(b *bench, r *gps.Receiver) {
				after(time.Second)
				if s := r.Status(); b.fixCount() != 0 || s.BadSentence != 1 || s.Sentences != 0 {
					t.Errorf("%d fixes, %+v", b.fixCount(), s)
				}
			})
		})
	}
}

func TestGpsdEpochOfSeveralReportsIsOutOnceAndWhole(t *testing.T) {
	t.Parallel()
	onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
		every(ctx, time.Second, func(i int) {
			say(`{"class":"TPV","device":"/dev/ttyACM0","mode":2,"time":%q,"lat":%.6f,"lon":11.5}`, tpvTime(i), 48+float64(i)*0.001)
			<-time.After(40 * time.Millisecond)
			say("%s", tpv(i))
			if i%3 == 2 {
				<-time.After(400 * time.Millisecond)
				say("%s", tpv(i)) // late: the epoch is out
			}
		})
	}}, func(b *bench, _ *gps.Receiver) {
		after(30 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.fixes) < 29 || len(b.fixes) > 30 {
			t.Fatalf("%d fixes in 30 s", len(b.fixes))
		}
		for i, f := range b.fixes {
			if f.Alt != 520 || f.Time.Second() != i {
				t.Errorf("epoch %d: %+v", i, f)
			}
		}
	})
}

func TestGpsdIsReconnectedForEver(t *testing.T) {
	t.Parallel()
	onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), connection int) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		every(ctx, time.Second, func(i int) { say("%s", tpv(100*connection+i)) })
	}}, func(b *bench, r *gps.Receiver) {
		after(10 * time.Minute)
		if s := r.Status(); s.Opens < 20 || b.fixCount() < 400 {
			t.Errorf("%d fixes, %+v", b.fixCount(), s)
		}
		if h := b.history(); !strings.HasPrefix(h, "probing fix absent probing fix absent") {
			t.Errorf("states %q", h)
		}
	})
}

func TestGpsdThatSendsNoFixSaysWhy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		greeting string
		says     []string
		reason   string
	}{
		"no receiver":       {"", []string{`{"class":"DEVICES","devices":[]}`}, "gpsd has no receiver"},
		"receiver removed":  {"", []string{tpv(1), `{"class":"DEVICE","path":"/dev/ttyACM0","activated":0}`}, "gpsd has lost the receiver /dev/ttyACM0"},
		"an error":          {"", []string{`{"class":"ERROR","message":"Can't perform DEVICE configuration"}`}, `gpsd says "Can't perform DEVICE configuration"`},
		"another program":   {"$GPRMC,120000,V,,,,,,,,,,N*53\r\n", nil, "write tcp:// for gpsd://"},
		"nothing but hello": {"", nil, "no report came for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onDaemon(t, daemon{greeting: tc.greeting, script: func(ctx context.Context, say func(string, ...any), _ int) {
				for _, s := range tc.says {
					say("%s", s)
				}
				<-ctx.Done()
			}}, func(_ *bench, r *gps.Receiver) {
				after(7 * time.Second)
				if s := r.Status(); s.State != gps.StateSilent || !strings.Contains(s.Reason, tc.reason) {
					t.Errorf("%s: %s", s.State, s.Reason)
				}
			})
		})
	}
}

func TestGpsdWithoutAFixIsNoFixNotSilence(t *testing.T) {
	t.Parallel()
	onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
		every(ctx, time.Second, func(int) {
			say(`{"class":"TPV","device":"/dev/ttyACM0","mode":1}`)
			say(`{"class":"TPV","device":"/dev/ttyACM0","mode":1}`)
		})
	}}, func(b *bench, r *gps.Receiver) {
		after(30 * time.Second)
		if s := r.Status(); s.State != gps.StateNoFix || s.Reason != "gpsd has no fix" || b.fixCount() < 29 || b.fixCount() > 31 {
			t.Errorf("%d epochs in 30 s, %+v", b.fixCount(), s)
		}
		if h := b.history(); h != "probing no_fix" {
			t.Errorf("states %q", h)
		}
	})
}

func TestGpsdWhoseTimeStandsStillIsNoFix(t *testing.T) {
	t.Parallel()
	onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
		every(ctx, time.Second, func(int) { say("%s", tpv(5)) })
	}}, func(b *bench, r *gps.Receiver) {
		after(20 * time.Second)
		if s := r.Status(); s.State != gps.StateNoFix || b.fixCount() != 1 {
			t.Errorf("%d epochs, %+v", b.fixCount(), s)
		}
	})
}

func TestGpsdWithTwoReceiversIsHeardAsOne(t *testing.T) {
	t.Parallel()
	onDaemon(t, daemon{script: func(ctx context.Context, say func(string, ...any), _ int) {
		every(ctx, time.Second, func(i int) {
			if i < 20 {
				say("%s", tpv(i))
			}
			say(`{"class":"TPV","device":"/dev/ttyUSB1","mode":3,"time":%q,"lat":10.0,"lon":20.0}`, tpvTime(i))
		})
	}}, func(b *bench, _ *gps.Receiver) {
		after(19 * time.Second)
		b.mu.Lock()
		for _, f := range b.fixes {
			if f.Lon != 11.5 {
				t.Errorf("%+v is of the second receiver", f)
			}
		}
		b.mu.Unlock()
		after(11 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if f := b.fixes[len(b.fixes)-1]; f.Lon != 20 {
			t.Errorf("the second receiver was not taken when the first fell silent: %+v", f)
		}
	})
}

func TestGpsdThatRefusesIsAbsentWithTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		r, err := gps.New(gps.Options{Source: "gpsd://[::1]:3000", Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			if address != "[::1]:3000" {
				t.Errorf("dialled %s", address)
			}
			return nil, errors.New("connection refused")
		}})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = r.Run(ctx, gps.Handler{}) })
		after(time.Second)
		if s := r.Status(); s.State != gps.StateAbsent || !strings.Contains(s.Reason, "check that gpsd runs there") {
			t.Errorf("%+v", s)
		}
		cancel()
		wg.Wait()
	})
}

// FuzzGpsd feeds what a host that calls itself gpsd may send: nothing of it may crash, and no fix may leave its range.
func FuzzGpsd(f *testing.F) {
	f.Add([]byte(gpsdVersion + tpv(1) + "\n" + tpv(2) + "\r\n"))
	f.Add([]byte(`{"class":"SKY","device":"/dev/ttyACM0","xdop":0.6,"hdop":1.16,"satellites":[{"PRN":7,"el":6.0,"used":true}]}` + "\n" + tpv(3) + "\n"))
	f.Add([]byte(`{"class":"DEVICES","devices":[]}` + "\n" + `{"class":"DEVICE","path":"/dev/ttyACM0","activated":0}` + "\n"))
	f.Add([]byte(`{"class":"TPV","mode":3,"lat":null,"lon":1e400}` + "\n" + `{"class":"TPV","mode":2,"lat":-0.0,"lon":-180}` + "\n{}\n[]\n\x00\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var fixes []gps.Fix
		g := gps.NewGpsdReader(func(x gps.Fix) { fixes = append(fixes, x) })
		half := len(stream) / 2
		g.Feed(stream[:half], time.Second)
		g.Feed(stream[half:], 2*time.Second)
		g.Flush(3 * time.Second)
		for _, x := range fixes {
			if x.HasPosition() && !(x.Lat >= -90 && x.Lat <= 90 && x.Lon >= -180 && x.Lon <= 180) || x.HasPosition() != (x.Mode != gps.ModeNone) || (x.Mode == gps.ModeNone) != (x.Reason != "") {
				t.Errorf("%+v", x)
			}
			if _, err := json.Marshal(x); err != nil {
				t.Errorf("%+v: %v", x, err)
			}
		}
		if c := g.Counts(); c.Epochs != uint64(len(fixes)) || c.Fixes > c.Epochs || c.Epochs > c.Sentences {
			t.Errorf("%d fixes, %+v", len(fixes), c)
		}
	})
}
