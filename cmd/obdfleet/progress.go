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
	terminal io.Writer // nil: nobody looks
	bar      *progressbar.ProgressBar
	sorting  bool
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	p := &progress{terminal: w}
	p.begin("reading", 1, progressbar.OptionShowBytes(true))
	return p
}

func (p *progress) begin(what string, most int64, more ...progressbar.Option) {
	p.bar = progressbar.NewOptions64(most, append(more,
		progressbar.OptionSetWriter(p.terminal), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionSetDescription(what))...)
}

// sortingSteps is how finely sorting is shown.
const sortingSteps = 1000

// tell is for report.Options.Progress. What a terminal does not take is lost: the report counts.
func (p *progress) tell(now report.Progress) {
	if p.bar == nil {
		return
	}
	if !now.Sorting {
		// More may be listed still; the bar ends when all is read.
		p.bar.ChangeMax64(max(now.Listed, now.Bytes) + 1)
		_ = p.bar.Set64(now.Bytes)
		p.bar.Describe(fmt.Sprintf("reading, %d objects", now.Objects))
		return
	}
	if !p.sorting {
		p.sorting = true
		_ = p.bar.Clear()
		p.begin("sorting", sortingSteps)
	}
	_ = p.bar.Set64(int64(min(now.Done, 0.999) * sortingSteps))
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
