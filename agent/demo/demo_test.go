package demo_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/agenttest"
	"obdagent/agent/demo"
	"obdagent/agent/report"
)

// TestTheDemosReportIsTheTruth: what is read back at the end agrees with where the van really was.
func TestTheDemosReportIsTheTruth(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "pace") // the report is compared with the way that the vehicle went
	var out bytes.Buffer
	dir := t.TempDir()
	o := demo.Options{For: 6 * time.Second, Dir: dir, Seed: 24, Rate: 10, Version: "test", Out: &out}
	r, err := demo.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if problem, ok := r.OK(false); !ok {
		t.Fatal(problem)
	}
	if r.Made < 30 || r.Report.Total.Records != r.Made {
		t.Fatalf("%d records made, the report is %+v", r.Made, r.Report)
	}
	if !strings.Contains(out.String(), "of 6s  car ") || !strings.HasSuffix(out.String(), "delivering what is left\n") {
		t.Errorf("the live view was\n%s", &out)
	}

	// The records' span, and that of those with a position: the first may have been made before the receiver spoke.
	var first, last, firstPlaced, lastPlaced time.Time
	again, err := report.Read(t.Context(), report.Directory(filepath.Join(dir, demo.Bucket)), report.Options{Each: func(l report.Line) {
		stretch(&first, &last, l.Time)
		if !math.IsNaN(l.Lat) {
			stretch(&firstPlaced, &lastPlaced, l.Time)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if again.Total.Records != r.Made || !again.Total.First.Equal(first) || !again.Total.Last.Equal(last) {
		t.Errorf("the objects say %+v, the demo said %+v", again.Total, r.Report.Total)
	}
	fastest, way := 0.0, 0.0
	for at := first; at.Before(last); at = at.Add(tick / 10) {
		fastest = max(fastest, r.Truth(at).Speed*3.6)
	}
	for at := firstPlaced; at.Before(lastPlaced); at = at.Add(tick / 10) {
		way += r.Truth(at).Speed * seconds / 10 / 1000
	}
	if got := r.Report.Total.MaxSpeed; math.Abs(got-fastest) > 2 || fastest < 10 {
		t.Errorf("the report's maximum speed is %.1f km/h, the van's was %.1f km/h", got, fastest)
	}
	if got := r.Report.Total.Distance(); math.Abs(got-way) > 0.05*way {
		t.Errorf("the report's distance is %.1f m, the van's was %.1f m", 1000*got, 1000*way)
	}

	// The directory holds a run now: another one would be counted with it.
	if _, err := demo.Run(t.Context(), o); !errors.Is(err, demo.ErrEarlierRun) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second run in the same directory: %v", err)
	}
}

func stretch(first, last *time.Time, at time.Time) {
	if at.IsZero() {
		return
	}
	if first.IsZero() || at.Before(*first) {
		*first = at
	}
	if at.After(*last) {
		*last = at
	}
}

func TestTheDemoWithFaultsLosesNothing(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "pace") // the live view changes each second
	var out bytes.Buffer
	r, err := demo.Run(t.Context(), demo.Options{For: 8 * time.Second, Dir: t.TempDir(), Seed: 24, Rate: 5, Faults: true, Out: &out, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	if problem, ok := r.OK(true); !ok {
		t.Error(problem)
	}
	if r.Deliver.Batches == 0 || r.Deliver.Objects == 0 {
		t.Errorf("the endpoint counted %+v", r.Deliver)
	}
	// One line that changes: it is overwritten until the end.
	if view := out.String(); strings.Count(view, "\r") < 8 || strings.Count(view, "\x1b[K") < 8 {
		t.Errorf("the live view was %q", view)
	}
}

func TestADemoThatIsStoppedEarlyStillReadsBack(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	// The first time that the view shows records delivered, somebody presses ctrl-C.
	r, err := demo.Run(ctx, demo.Options{For: time.Hour, Dir: t.TempDir(), Rate: 5, Live: true, Out: writer(func(p []byte) {
		if bytes.Contains(p, []byte(" delivered ")) && !bytes.Contains(p, []byte(" delivered 0 ")) {
			stop()
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	if problem, ok := r.OK(false); !ok {
		t.Error(problem)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestARunRefusesADirectoryThatWasUsed(t *testing.T) {
	t.Parallel()
	for _, left := range []string{demo.Bucket, "buffer"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, left), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := demo.Run(t.Context(), demo.Options{For: time.Second, Dir: dir, Out: new(bytes.Buffer)}); !errors.Is(err, demo.ErrEarlierRun) {
			t.Errorf("%s is there: %v", left, err)
		}
		if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
			t.Errorf("%s is there, and now %v (%v)", left, found, err)
		}
	}
}

func TestTheResultSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("939ed1d1-1740-420c-8906-445278573c7f")
	for name, test := range map[string]struct {
		result  demo.Result
		faults  bool
		problem string
	}{
		"all is well":                        {demo.Result{Made: 3, Report: &report.Report{}}, false, ""},
		"nothing was made":                   {demo.Result{Report: &report.Report{}}, true, "no record was made"},
		"one is missing":                     {demo.Result{Made: 3, Missing: []uuid.UUID{id}, Report: &report.Report{}}, true, "1 of 3 records made were not delivered, the first " + id.String()},
		"one was never made":                 {demo.Result{Made: 3, Foreign: 1, Report: &report.Report{}}, true, "1 records were delivered that were never made"},
		"a line is damaged":                  {demo.Result{Made: 3, Report: &report.Report{Damaged: 2}}, true, "2 delivered lines are damaged"},
		"one came twice, and nothing failed": {demo.Result{Made: 3, Report: &report.Report{Total: report.Vehicle{Duplicates: 1}}}, false, "1 records were delivered twice, though nothing failed"},
		"one came twice, as calls were cut":  {demo.Result{Made: 3, Report: &report.Report{Total: report.Vehicle{Duplicates: 1}}}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if problem, ok := test.result.OK(test.faults); problem != test.problem || ok != (test.problem == "") {
				t.Errorf("problem %q, ok %t; want %q", problem, ok, test.problem)
			}
		})
	}
}
