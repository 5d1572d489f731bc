package obd_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestFormulasAreReckonedAsAtSchool(t *testing.T) {
	t.Parallel()
	data := make([]byte, 30)
	copy(data, []byte{1, 2, 3, 200})
	data[26] = 7
	for text, want := range map[string]float64{
		"A": 1, "D": 200, "AA": 7, "A+B*C": 7, "(A+B)*C": 9, "D-C-B-A": 194, "D/B/A": 100, "-A": -1, "--B": 2, "2*-C": -6, "A*256+B": 258,
		" ( D * 100 ) / 255 ": 200.0 * 100 / 255, ".5*B": 1, "1.25": 1.25, "((((A))))": 1,
	} {
		f, err := obd.ParseFormula(text, len(data))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := f.Of(data); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	f, err := obd.ParseFormula("D/(B-2)", 4)
	if err != nil || !math.IsInf(f.Of(data), 1) {
		t.Errorf("division by zero: %v, %v", f.Of(data), err)
	}
	for text, want := range map[string]string{
		"": "ends too early", "A+": "ends too early", "(A": "want )", "A)": "want +", "A B": "want +", "E": "only 4", "AAAA": "only 4", "1.2.3": "not a number",
		"a": "want a byte", "A^2": "want +", "system('rm')": "want a byte", strings.Repeat("(", 99) + "A": "too many brackets", strings.Repeat("A+", 999): "at most",
	} {
		if _, err := obd.ParseFormula(text, 4); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
}

func FuzzFormula(f *testing.F) {
	for _, s := range []string{"(A*16777216+B*65536+C*256+D)/10", "A-40", "-(-A)", "AA", "1/0", "((", ".", "A*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		formula, err := obd.ParseFormula(text, 4)
		if err == nil {
			_ = formula.Of([]byte{1, 2, 3, 4})
			if formula.String() != text {
				t.Errorf("%q became %q", text, formula)
			}
		}
	})
}

func TestOnesOwnPIDsAreAskedAndChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, ECUDelay: 8 * time.Millisecond, Vehicle: func() elmsim.Vehicle {
			v := elmsim.Idling()
			v.Identifiers = map[uint16][]byte{0x1234: {0x01, 0x02}, 0x2000: []byte("ten bytes.")}
			return v
		}})
		custom := []obd.Custom{
			{Name: "boost", Request: "221234", Bytes: 2, Formula: "A*256+B", Max: 1000, Period: time.Second},
			{Name: "last_of_ten", Request: "222000", Bytes: 10, Formula: "J", Max: 255, Period: time.Second},
			{Name: "hot", Request: "0105", Bytes: 1, Formula: "A", Max: 10, Period: time.Second},
			{Name: "nobody", Request: "22FFFF", Bytes: 1, Formula: "A", Max: 10, Period: time.Second},
		}
		b := newBench(t, sim, obd.Options{Custom: custom})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		pass(20 * time.Second)
		count, reasons := map[string]int{}, map[string]string{}
		for _, s := range b.taken() {
			if s.Err != nil {
				reasons[s.Signal] += obd.Reason(s.Err) + " "
				continue
			}
			count[s.Signal]++
			if want := map[string]float64{"boost": 258, "last_of_ten": '.'}[s.Signal]; s.Signal != "speed" && s.Value != want {
				t.Errorf("%s is %v, want %v", s.Signal, s.Value, want)
			}
		}
		if count["boost"] < 18 || count["last_of_ten"] < 18 {
			t.Errorf("answers %v, failures %v", count, reasons)
		}
		if count["hot"] != 0 || !strings.HasPrefix(reasons["hot"], "implausible ") {
			t.Errorf("out of range: %d answers, %q", count["hot"], reasons["hot"])
		}
		if !strings.HasSuffix(reasons["nobody"], "negative_response unsupported ") {
			t.Errorf("a refused identifier: %q", reasons["nobody"])
		}
	})
}

func TestOnesOwnPIDsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	good := obd.Custom{Name: "x", Request: "01A6", Bytes: 4, Formula: "A", Max: 9, Period: time.Second}
	for want, change := range map[string]func(*obd.Custom){
		"want a name":               func(c *obd.Custom) { c.Name = "X" },
		"there is a signal of that": func(c *obd.Custom) { c.Name = "rpm" },
		"want 01 and two hex":       func(c *obd.Custom) { c.Request = "2EF190" },
		"want 1 to 64":              func(c *obd.Custom) { c.Bytes = 0 },
		"is not below maximum":      func(c *obd.Custom) { c.Max = 0 },
		"want a positive one":       func(c *obd.Custom) { c.Period = 0 },
		"the answer has only 4":     func(c *obd.Custom) { c.Formula = "E" },
	} {
		c := good
		change(&c)
		if _, err := obd.New(obd.Options{Port: "auto", Custom: []obd.Custom{c}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}
