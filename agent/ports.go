package agent

import (
	"fmt"
	"path/filepath"
	"sync"
)

// ports keeps the two sources off each other's serial devices: while one probes a port, the other finds it taken.
type ports struct {
	mu     sync.Mutex
	owners map[string]string // by the device's real path
}

// claim returns the Claim function of one source.
func (p *ports) claim(owner string) func(device string) (func(), error) {
	return func(device string) (func(), error) {
		// Two names may lead to one device (/dev/serial/by-id/... and /dev/ttyUSB0).
		real, err := filepath.EvalSymlinks(device)
		if err != nil {
			real = device // not there, or not a file: opening it will say so
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if other := p.owners[real]; other != "" && other != owner {
			return nil, fmt.Errorf("%s is taken by the %s of this agent", device, other)
		}
		if p.owners == nil {
			p.owners = map[string]string{}
		}
		p.owners[real] = owner
		return sync.OnceFunc(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.owners, real)
		}), nil
	}
}
