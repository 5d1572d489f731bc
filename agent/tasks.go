package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A task is one part of the agent that runs until its context is done.
type task struct {
	name string
	run  func(context.Context) error
}

// A stage is a set of tasks that start and stop together. after, if set, runs when the stage has stopped, before the next
// one is told to.
type stage struct {
	tasks []task
	after func()
}

// runStages starts all stages, the last one first, and waits until ctx is done or a task fails. Then it stops them, the first
// one first, so that what flows from stage to stage finds an open door until its source is dry. A task that returns nil while
// it should run has done what it was for; one that returns an error ends the run.
func runStages(ctx context.Context, stages []stage) error {
	failed := make(chan error, 1) // the first failure stops the run; further ones join errs
	var (
		mu   sync.Mutex
		errs []error
	)
	type running struct {
		cancel context.CancelFunc
		wait   *sync.WaitGroup
	}
	run := make([]running, len(stages))
	for i := len(stages) - 1; i >= 0; i-- {
		// Not derived from ctx: stopping is by stage.
		stageCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		run[i] = running{cancel, new(sync.WaitGroup)}
		for _, t := range stages[i].tasks {
			run[i].wait.Go(func() {
				err := t.run(stageCtx)
				if err == nil {
					return
				}
				err = fmt.Errorf("%s: %w", t.name, err)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				select {
				case failed <- err:
				default:
				}
			})
		}
	}
	select {
	case <-ctx.Done():
	case <-failed:
	}
	for i, s := range stages {
		run[i].cancel()
		run[i].wait.Wait()
		if s.after != nil {
			s.after()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(errs...)
}
