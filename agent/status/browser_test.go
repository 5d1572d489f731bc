package status_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"obdagent/agent/agenttest"
	"obdagent/agent/status"
)

// phone is a small phone's width, in CSS pixels.
const phone = 360

// browser starts Chromium with nothing of a user's in it, and returns what it complained about, once it is asked.
func browser(t *testing.T, more ...chromedp.ExecAllocatorOption) (ctx context.Context, complaints func() []string) {
	t.Helper()
	agenttest.Require(t, "chromium")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute)), more...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(phone, 740, chromedp.EmulateScale(2), chromedp.EmulateMobile)); err != nil {
		t.Fatal(err)
	}
	listening, stop := context.WithCancel(ctx)
	t.Cleanup(stop)
	messages := chromedp.Console(listening)
	return ctx, func() (said []string) {
		stop()
		for m, err := range messages {
			if err != nil {
				break
			}
			said = append(said, m.String()+" "+m.URL)
		}
		return said
	}
}

// tour is a drive through a town and back: some kilometres, with a tunnel.
func tour(p *status.Page) {
	for i := range 400 {
		a := float64(i) / 400 * 2 * math.Pi
		r := 900 + 260*math.Sin(3*a) + 90*math.Cos(7*a)
		lat, lon := 48.2+r*math.Sin(a)/111320, 11.5+1.4*r*math.Cos(a)/(111320*math.Cos(48.2*math.Pi/180))
		if i > 150 && i < 165 {
			lat, lon = math.NaN(), math.NaN()
		}
		p.Point(lat, lon, 45+40*math.Sin(5*a))
	}
}

// shown waits until an expression is true in the page.
func shown(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(time.Minute))); err != nil {
		t.Fatalf("%s does not come: %v\n%s", expression, err, evaluate[string](t, ctx, "document.body.innerText"))
	}
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// screenshot takes the whole page, and with -update keeps it in docs.
func screenshot(t *testing.T, ctx context.Context) {
	t.Helper()
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	picture, _, err := image.DecodeConfig(bytes.NewReader(shot))
	if err != nil || picture.Width != 2*phone || picture.Height < 2*phone {
		t.Errorf("a picture of %d by %d (%v)", picture.Width, picture.Height, err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "page.png"), shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAPhoneShowsTheVan in headless Chromium, 360 pixels wide: a good drive, a van with everything wrong, and an agent that is gone.
func TestAPhoneShowsTheVan(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "chromium")
	var now atomic.Pointer[status.Snapshot]
	show := func(s status.Snapshot) { judged(&s); now.Store(&s) }
	show(driving())
	p := status.NewPage(func() status.Snapshot { return *now.Load() }, func() bool { return true })
	p.SetEvery(50 * time.Millisecond)
	tour(p)
	p.Line(`07:12:09 event=car from=search to=live reason="ISO 15765-4 (CAN 11/500), ECU 7E8"`)
	p.Line("07:12:40 event=gps from=no_fix to=fix")
	p.Line("08:15:00 state=OK time_src=gnss car=live vin=1FTBR1XG2MKA12345 car_kmh=50 car_hz=9.8 volt=14.1 gps=fix fix=3d sats=11 gps_kmh=49.3 buffered=31 uplink=ok delivered=3929")
	address, stop := servedUntil(t, p)
	ctx, complaints := browser(t)
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+address+"/")); err != nil {
		t.Fatal(err)
	}
	shown(t, ctx, `document.querySelector("#verdict b").textContent === "OK" && !document.querySelector("main").hidden`)
	for what, expression := range map[string]string{
		"the title":                       `document.title === "OK – obdagent"`,
		"the verdict's colour":            `document.querySelector("#verdict").className === "good"`,
		"the plain text is gone":          `getComputedStyle(document.querySelector("#plain")).display === "none"`,
		"both speeds":                     `document.querySelector("#kmh-car").textContent === "50" && document.querySelector("#kmh-gps").textContent === "49"`,
		"the speeds beside each other":    `document.querySelector("#kmh-car").getBoundingClientRect().top === document.querySelector("#kmh-gps").getBoundingClientRect().top`,
		"the tiles in acceptance order":   `[...document.querySelectorAll("#tiles h2")].map(e => e.textContent).join() === "Car,GPS,Clock,Uplink"`,
		"all tiles good":                  `document.querySelectorAll("#tiles .good").length === 4`,
		"the car":                         `document.querySelector("#car").innerText.includes("live") && document.querySelector("#car").innerText.includes("VIN …A12345")`,
		"the receiver":                    `document.querySelector("#gps").innerText.includes("3d fix") && document.querySelector("#gps").innerText.includes("11 satellites")`,
		"the clock":                       `document.querySelector("#clock").innerText.includes("GPS")`,
		"the uplink":                      `document.querySelector("#uplink").innerText.includes("3929 delivered")`,
		"the buffer":                      `document.querySelector("#buffer p").textContent === "31 records wait, the oldest since 31 s, 1.0 MiB of 512.0 MiB"`,
		"the track":                       `document.querySelectorAll("#track line").length > 200`,
		"a gap where the tunnel is":       `document.querySelectorAll("#track line[stroke-dasharray]").length === 1`,
		"a scale":                         `document.querySelector("#track text").textContent.endsWith("m")`,
		"a link to the phone's own map":   `document.querySelector("#track a").href.startsWith("geo:48.1")`,
		"the latest line of the log":      `document.querySelector("#log li").textContent.startsWith("08:15:00 state=OK")`,
		"nothing wider than the phone":    `document.documentElement.scrollWidth <= ` + fmt.Sprint(phone),
		"no text smaller than 14 px":      `[...document.querySelectorAll("main *")].every(e => e.closest("svg") || parseFloat(getComputedStyle(e).fontSize) >= 14)`,
		"the speeds large":                `parseFloat(getComputedStyle(document.querySelector("#kmh-car")).fontSize) >= 48`,
		"nothing loaded from elsewhere":   `performance.getEntriesByType("resource").every(e => e.name.startsWith(location.origin))`,
		"no other script, style or frame": `document.querySelectorAll("script,style,link,iframe,img").length === 3`,
	} {
		if !evaluate[bool](t, ctx, expression) {
			t.Errorf("not so: %s (%s)", what, expression)
		}
	}
	screenshot(t, ctx)

	show(troubled())
	p.Line("08:15:30 event=<b>bold</b>")
	shown(t, ctx, `document.querySelector("#verdict b").textContent === "DEGRADED"`)
	for what, expression := range map[string]string{
		"what is wrong, with its code": `document.querySelector("#verdict").innerText.includes("OBD-NO-ADAPTER")`,
		"and what to do":               `document.querySelector("#verdict").innerText.includes("→ ")`,
		"text is no HTML":              `document.querySelector("#log li").textContent === "08:15:30 event=<b>bold</b>"`,
		"the others by name":           `document.querySelectorAll("#verdict li").length === 3 && document.querySelector("#verdict").innerText.includes("GPS-NO-FIX")`,
		"the buffer":                   `document.querySelector("#buffer").className === "bad"`,
		"tiles that are bad":           `document.querySelectorAll("#tiles .bad").length >= 3 && document.querySelector("#car").innerText.includes("✗")`,
		"where it was seen last":       `document.querySelector("#track p").textContent.startsWith("Last seen at")`,
		"no speed is no number":        `document.querySelector("#kmh-car").textContent === "–"`,
		"nothing wider than the phone": `document.documentElement.scrollWidth <= ` + fmt.Sprint(phone),
	} {
		if !evaluate[bool](t, ctx, expression) {
			t.Errorf("not so: %s (%s)", what, expression)
		}
	}

	show(starting())
	shown(t, ctx, `document.querySelector("#verdict b").textContent === "WAITING" && document.querySelector("#verdict").className === "wait"`)

	if said := complaints(); said != nil {
		t.Errorf("Chromium says %q", said)
	}

	// The agent ends: what is on the screen is not passed off as the state.
	stop()
	shown(t, ctx, `document.querySelector("#verdict b").textContent === "NO ANSWER" && document.querySelector("#kmh-gps").textContent === "–"`)
}

// TestAPhoneWithoutScriptShowsTheStatus as text.
func TestAPhoneWithoutScriptShowsTheStatus(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "chromium")
	address := served(t, page(false))
	ctx, complaints := browser(t, chromedp.Flag("blink-settings", "scriptEnabled=false"))
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+address+"/")); err != nil {
		t.Fatal(err)
	}
	text := evaluate[string](t, ctx, "document.body.innerText")
	for _, want := range []string{"OK       obdagent v0.1.0", "car      live", "VIN 1FTBR1XG2MKA12345", "uplink"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if w := evaluate[int](t, ctx, "document.documentElement.scrollWidth"); w > phone {
		t.Errorf("%d pixels wide", w)
	}
	if evaluate[int](t, ctx, `document.querySelectorAll("noscript meta[http-equiv=refresh]").length`) != 1 {
		t.Error("the page does not refresh itself")
	}
	if said := complaints(); said != nil {
		t.Errorf("Chromium says %q", said)
	}
}
