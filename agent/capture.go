package agent

import (
	"encoding/json"
	"io"
	"log/slog"
	"sync"

	"obdagent/agent/clock"
	"obdagent/obd"
)

// capture writes what passes through the ports, one JSON line for each piece: see obd.Captured.
type capture struct {
	log *slog.Logger

	mu  sync.Mutex
	out *json.Encoder // nil once writing has failed
}

func newCapture(w io.Writer, log *slog.Logger) *capture {
	return &capture{log: log, out: json.NewEncoder(w)}
}

// port returns the function that one port's source tells its bytes; also tells them to also. Without a capture it is also alone.
func (c *capture) port(name string, also func(direction string, data []byte)) func(direction string, data []byte) {
	if c == nil {
		return also
	}
	return func(direction string, data []byte) {
		also(direction, data)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.out == nil {
			return
		}
		if err := c.out.Encode(obd.Captured{Mono: int64(clock.Boottime()), Port: name, Dir: direction, Data: data}); err != nil {
			c.log.Warn("the capture ends here", "err", err)
			c.out = nil
		}
	}
}
