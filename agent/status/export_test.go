package status

import (
	"os"
	"time"
)

// OnSync has f do the log's syncs.
func (l *Log) OnSync(f func(*os.File) error) { l.fsync = f }

// SetEvery makes the page's stream quicker or slower than a second.
func (p *Page) SetEvery(every time.Duration) { p.every = every }
