package status

import (
	"context"
	"net"
	"os"
	"time"
)

// OnSync has f do the log's syncs.
func (l *Log) OnSync(f func(*os.File) error) { l.fsync = f }

// SetEvery makes the page's stream quicker or slower than a second.
func (p *Page) SetEvery(every time.Duration) { p.every = every }

// ServeOn serves the page on a listener.
func (p *Page) ServeOn(ctx context.Context, l net.Listener) error { return p.serveOn(ctx, l, "") }
