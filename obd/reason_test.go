package obd_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"obdagent/obd"
)

func TestReasonsAreEachOnceAndAll(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range obd.Reasons() {
		if r == "" || seen[r] {
			t.Errorf("the reason %q is empty or there twice", r)
		}
		seen[r] = true
	}
	for _, err := range []error{obd.ErrNoData, obd.ErrSeveral, obd.ErrNoPort, obd.ErrMalformed, context.Canceled, errors.New("somebody else's")} {
		if !seen[obd.Reason(err)] {
			t.Errorf("%v has the reason %q, which is not listed", err, obd.Reason(err))
		}
	}
}

// TestEachFailureToOpenHasItsCause: the code beside the words.
func TestEachFailureToOpenHasItsCause(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	list := func(ports ...string) func() ([]string, error) { return func() ([]string, error) { return ports, nil } }
	for name, c := range map[string]struct {
		opt   obd.Options
		cause string
	}{
		"a device that is not there":      {obd.Options{Port: none}, "not_there"},
		"no serial port at all":           {obd.Options{Port: "auto", Candidates: list()}, "no_port"},
		"one that is not there":           {obd.Options{Port: "auto", Candidates: list(none)}, "not_there"},
		"several, none of which is there": {obd.Options{Port: "auto", Candidates: list(none, none+"2")}, "not_found"},
		"a directory":                     {obd.Options{Port: t.TempDir()}, "not_a_port"},
		"a file":                          {obd.Options{Port: "/dev/null"}, "not_a_port"},
		"one in other hands":              {obd.Options{Port: none, Claim: func(string) (func(), error) { return nil, errors.New("taken") }}, "port_busy"},
		"a host that refuses":             {obd.Options{Port: "tcp://127.0.0.1:1"}, "no_connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			car, err := obd.New(c.opt)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := ""
			if err := car.Run(ctx, obd.Handler{State: func(s obd.StateChange) {
				if s.To == obd.StateAbsent {
					got = car.Status().Cause
					cancel()
				}
			}}); err != nil {
				t.Error(err)
			}
			if got != c.cause {
				t.Errorf("cause %q, want %q", got, c.cause)
			}
			if s := car.Status(); s.Cause != "" {
				t.Errorf("closed, and the cause is still %q", s.Cause)
			}
		})
	}
}

// The unit's device cgroup answers EPERM, a file's mode EACCES: what is to be done differs.
func TestWhyAPortMayNotBeOpenedIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	mode, kind, gone := obd.OpenError("/dev/ttyUSB0", unix.EACCES), obd.OpenError("/dev/ttymxc0", unix.EPERM), obd.OpenError("/dev/ttyUSB1", unix.ENOENT)
	if !strings.Contains(mode.Error(), "group") || strings.Contains(mode.Error(), "DeviceAllow") {
		t.Error(mode)
	}
	if strings.Contains(kind.Error(), "group") || !strings.Contains(kind.Error(), "DeviceAllow=") {
		t.Error(kind)
	}
	for _, c := range []struct {
		errs   []error
		reason string
	}{
		{[]error{mode}, "no_permission"}, {[]error{kind}, "no_permission"}, {[]error{kind, mode}, "no_permission"},
		{[]error{kind, gone}, "not_found"}, {[]error{gone, obd.ErrTimeout}, "not_found"}, {[]error{gone}, "not_there"},
	} {
		err := obd.NoneFound([]string{"/dev/a", "/dev/b"}[:len(c.errs)], c.errs)
		if got := obd.Reason(err); got != c.reason || !strings.Contains(err.Error(), c.errs[0].Error()) {
			t.Errorf("%v: reason %s, want %s", err, got, c.reason)
		}
	}
}
