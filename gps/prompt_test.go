package gps_test

import (
	"testing"

	"obdagent/gps"
	"obdagent/gps/internal/recording"
)

// unhurried are the recordings in which less than nine of ten epochs are out with their last byte, and why.
var unhurried = map[string]string{
	"rx210.log":                        "GSA comes with each fifth epoch only: of 61 epochs the first fifteen go by until that is sure",
	"iTrek.log":                        "a receiver that leaves sentences out at random",
	"gp-320fw-2019-04-06-overflow.log": "more sentences than the line carries: the end of the cycle is lost at random",
	"ac12.log":                         "ZDA is a second ahead, so that half of the bursts hold nothing else",
	"bundg_zeus_9.log":                 "five talkers behind a ship's multiplexer, in changing order",
}

func TestEpochsOfRecordedReceiversAreOutWithTheirLastByte(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	epochs, prompt := 0, 0
	for _, name := range recordingNames(t, dir) {
		n, p := promptness(loadRecording(t, dir, name))
		epochs, prompt = epochs+n, prompt+p
		reason, known := unhurried[name]
		if slow := n >= 10 && 10*p < 9*n; slow != known {
			t.Errorf("%s: %d of %d epochs are out with their last byte (%q)", name, p, n, reason)
		}
	}
	t.Logf("%d of %d epochs, from the fourth of each recording on, are out with their last byte", prompt, epochs)
}

// promptness plays a recording at its pace and counts the epochs, and those that were out with the last byte of their burst;
// the others waited for the quiet. The first three, in which the cycle is learned, are left out.
func promptness(log []byte) (epochs, prompt int) {
	const learning = 3
	emitted := 0
	a := gps.NewAssembler(func(gps.Fix) { emitted++ })
	for i, b := range recording.Parse(log).Bursts {
		if at, ok := a.Deadline(); ok && at <= b.Offset {
			a.Expire(at)
		}
		before := emitted
		a.Feed(b.Data, b.Offset)
		_, open := a.Deadline()
		if i >= learning {
			epochs++
			if emitted > before && !open {
				prompt++
			}
		}
	}
	return epochs, prompt
}
