package agent

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"obdagent/agent/config"
	"obdagent/agent/status"
)

// A source is a car or a receiver that can be replaced while the agent runs.
type source[S any] struct {
	current atomic.Pointer[S] // nil: there is none
	changed chan struct{}
}

func newSource[S any]() source[S] { return source[S]{changed: make(chan struct{}, 1)} }

// now is the one that runs, or is about to; nil if there is none.
func (s *source[S]) now() *S { return s.current.Load() }

// replace puts another in its place; nil: none.
func (s *source[S]) replace(next *S) {
	s.current.Store(next)
	select {
	case s.changed <- struct{}{}:
	default: // run has not seen the change before this one, and will see both as one
	}
}

// run runs the current source, and each that takes its place once the one before has ended, until ctx is done.
func (s *source[S]) run(ctx context.Context, run func(context.Context, *S) error) error {
	for ctx.Err() == nil {
		select {
		case <-s.changed: // seen with the Load that follows
		default:
		}
		one, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			if current := s.now(); current != nil {
				ended <- run(one, current)
				return
			}
			<-one.Done()
			ended <- nil
		}()
		var err error
		select {
		case err = <-ended:
			cancel()
			if err == nil && ctx.Err() == nil {
				// It has nothing more to do; another may come.
				select {
				case <-ctx.Done():
				case <-s.changed:
				}
			}
		case <-s.changed:
			cancel()
			err = <-ended
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Reload reads the configuration again. What can change while the agent runs does at once; what needs a restart is named in the log
// and in the status; a configuration with a mistake is refused whole, and the one in force stays. A source whose section changed is
// closed and opened again, and counts anew.
func (a *Agent) Reload(load func() (*config.Config, error)) {
	a.reload.Lock()
	defer a.reload.Unlock()
	before := a.inForce.Load()
	next, err := load()
	var cfg *config.Config
	var changed, restart []string
	if err == nil {
		cfg, changed, restart = before.Adopt(next)
		err = a.adopt(cfg, changed)
	}
	if err != nil {
		reason := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
		state := *a.configState.Load()
		state.Refused = reason
		a.configState.Store(&state)
		a.log.Error("the new configuration is refused, the one before stays in force", "err", err)
		a.logEvent("config", "to", "refused", "reason", reason)
		return
	}
	for _, w := range next.Warnings() {
		a.log.Warn(w)
	}
	a.configState.Store(&status.Config{RestartNeeded: restart})
	reason := "nothing changed"
	if len(changed) > 0 {
		reason = "in force now: " + strings.Join(changed, ", ")
	}
	if len(restart) > 0 {
		reason += "; with the next start: " + strings.Join(restart, ", ")
	}
	a.transition("config", "", "reloaded", reason)
}

// adopt puts a configuration into force of which only keys changed that can.
func (a *Agent) adopt(cfg *config.Config, changed []string) error {
	within := func(section string) bool {
		for _, key := range changed {
			if strings.HasPrefix(key, section+".") {
				return true
			}
		}
		return false
	}
	var put []func() // once all are found good
	if within("obd") {
		car, err := a.newCar(cfg)
		if err != nil {
			return err
		}
		put = append(put, func() { a.car.replace(car) })
	}
	if within("gps") {
		receiver, err := a.newReceiver(cfg)
		if err != nil {
			return err
		}
		put = append(put, func() { a.gps.replace(receiver) })
	}
	a.inForce.Store(cfg)
	o := a.fusionOptions(cfg)
	a.refit.Store(&o) // before a car comes, so that its first word is taken
	select {
	case a.refitted <- struct{}{}:
	default: // it has not seen the change before this one, and will see both as one
	}
	for _, replace := range put {
		replace()
	}
	a.uplink.Adjust(cfg.Uplink.Linger, cfg.Uplink.DailyBytes)
	a.encode.timeWait.Store(int64(cfg.Uplink.TimeWait))
	return nil
}

func (a *Agent) configStatus() status.Config {
	c := *a.configState.Load()
	if a.opts.LogLevel != nil {
		c.LogLevel = strings.ToLower(a.opts.LogLevel.Level().String())
	}
	return c
}

// endpoints are what the local socket serves besides the snapshot.
func (a *Agent) endpoints() []func(*http.ServeMux) {
	all := []func(*http.ServeMux){a.traffic.Endpoint}
	if a.opts.LogLevel != nil {
		all = append(all, status.LogLevel{Level: a.opts.LogLevel, Changed: func(from, to slog.Level) {
			a.transition("log_level", strings.ToLower(from.String()), strings.ToLower(to.String()), "obdagent log-level")
		}}.Endpoint)
	}
	return all
}

// pageAgain is how long after a failure the page is tried again: its address may be one that the van's access point gets later.
const pageAgain = 3 * time.Second

// servePage serves the page. That it cannot is said, and no reason to stop: the records must not care.
func (a *Agent) servePage(ctx context.Context) error {
	said := ""
	for ctx.Err() == nil {
		err := a.page.Serve(ctx, a.cfg.Status.Listen)
		if err == nil {
			continue // ctx is done
		}
		if err.Error() != said {
			said = err.Error()
			a.transition("page", "", "down", said+": name an address of this board that is free in status.listen; it is tried again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pageAgain):
		}
	}
	return nil
}
