package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"obdagent/agent/report"
)

// progress shows how far reading is, to a person: not into a file or another program.
type progress struct {
	bar     *progressbar.ProgressBar // nil: nobody looks
	sorting bool
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true),
	)}
}

// tell is for report.Options.Progress. What a terminal does not take is lost: the report counts.
func (p *progress) tell(now report.Progress) {
	if p.bar == nil {
		return
	}
	if !now.Sorting {
		// More may be listed still; the bar ends when all is read.
		p.bar.ChangeMax64(max(now.Listed, now.Bytes) + 1)
		p.bar.Describe(fmt.Sprintf("reading, %d objects", now.Objects))
		_ = p.bar.Set64(now.Bytes)
		return
	}
	if !p.sorting {
		p.sorting = true
		_ = p.bar.Clear()
	}
	p.bar.Describe("sorting")
	p.bar.ChangeMax64(1000)
	_ = p.bar.Set64(int64(min(now.Done, 0.999) * 1000))
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
